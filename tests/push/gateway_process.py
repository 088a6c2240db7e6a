"""A gateway as a process of its own, which tests kill and pause.

`python -m tests.push.gateway_process <port> <settings as JSON>` serves until it gets a signal.
"""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import pusher
import uvloop
from websockets.asyncio.client import connect

from backend.push.app import build_gateway
from backend.push.server import GatewayServer, uvicorn_config
from backend.push.settings import GatewaySettings
from loadtests.ports import free_port
from tests.push.servers import APP_ID, HOST, KEY, SECRET, RawClient

START_SECONDS = 20


@dataclass
class GatewayProcess:
    process: subprocess.Popen[bytes]
    port: int

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[RawClient]:
        url = f"ws://{HOST}:{self.port}/app/{KEY}?protocol=7"
        async with connect(url, compression=None, max_queue=None) as opened:
            client = RawClient(opened)
            await client.established()
            yield client

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call the official library."""
        api = pusher.Pusher(APP_ID, KEY, SECRET, host=HOST, port=self.port, ssl=False)
        return await asyncio.to_thread(getattr(api, method), *arguments)

    def until_listening(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection((HOST, self.port), 1).close()
            except OSError:
                assert self.process.poll() is None, "the gateway ended"
                assert time.monotonic() < deadline, "the gateway does not listen"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(5)

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, 10)


@contextmanager
def gateway_processes(
    redis_url: str, number: int, **changed: Any
) -> Iterator[list[GatewayProcess]]:
    """So many running gateway processes with these changes of their settings."""
    processes: list[GatewayProcess] = []
    try:
        processes.extend(start_process(redis_url, **changed) for _ in range(number))
        for started in processes:
            started.until_listening()
        yield processes
    finally:
        for started in processes:
            # It may be paused.
            started.resume()
            started.kill()


def start_process(redis_url: str, **changed: Any) -> GatewayProcess:
    own = {"app_id": APP_ID, "key": KEY, "secret": SECRET, "redis_url": redis_url}
    port = free_port()
    settings = json.dumps(own | {"drain_seconds": 0} | changed)
    command = [sys.executable, "-m", "tests.push.gateway_process", str(port), settings]
    return GatewayProcess(subprocess.Popen(command, stdout=subprocess.DEVNULL), port)


def main() -> None:
    port, settings = int(sys.argv[1]), GatewaySettings(**json.loads(sys.argv[2]))
    server = GatewayServer(uvicorn_config(build_gateway(settings), HOST, port))
    uvloop.run(server.serve())


if __name__ == "__main__":
    main()
