"""`gittix up --push-processes`: gateways that share a port, and are replaced one by one."""

import asyncio
import json
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pusher
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from backend.embedded.instance import environment_of
from tests.embedded.running import Running, running
from tests.push.servers import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENTS = 40
# pusher-js's own time without a reply; the issue is a client that must wait longer.
MAX_WAIT_SECONDS = 2.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def up() -> AsyncIterator[Running]:
    with tempfile.TemporaryDirectory(prefix="gtup-", ignore_cleanup_errors=True) as folder:
        async with running(
            Path(folder), "--no-demo", "--no-frontend", "--push-processes", "2"
        ) as up:
            await up.until_up()
            yield up


class Client:
    """A plain client: it connects again at once when it is closed, and counts its messages."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.subscribed = asyncio.Event()
        self.received: list[int] = []
        self.waits: list[float] = []
        self.refused = 0

    async def run(self) -> None:
        lost = time.monotonic()
        while True:
            try:
                async with connect(self._url, compression=None, open_timeout=5) as socket:
                    await self._read(socket, lost)
            except ConnectionClosed:
                lost = time.monotonic()
            except (OSError, InvalidHandshake):
                self.refused += 1
                await asyncio.sleep(0.05)

    async def _read(self, socket: ClientConnection, lost: float) -> None:
        await socket.send(json.dumps({"event": "pusher:subscribe", "data": {"channel": "show-1"}}))
        async for text in socket:
            message: dict[str, Any] = json.loads(text)
            if message["event"] == "pusher_internal:subscription_succeeded":
                self.waits.append(time.monotonic() - lost)
                self.subscribed.set()
            elif message["event"] == "n":
                self.received.append(json.loads(message["data"]))


def gateways(up: Running) -> set[int]:
    """The pids of the gateways."""
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and up._role(entry) == "push"
    }


async def test_two_gateways_share_a_port_and_each_is_replaced_without_a_refusal(
    up: Running,
) -> None:
    environment = environment_of(up.folder)
    key, port = environment["PUSHER_KEY"], int(environment["PUSHER_PORT"])
    sending = pusher.Pusher(
        app_id="1",
        key=key,
        secret=environment["PUSHER_SECRET"],
        host="127.0.0.1",
        port=port,
        ssl=False,
    )
    clients = [Client(f"ws://127.0.0.1:{port}/app/{key}?protocol=7") for _ in range(CLIENTS)]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    try:
        async with asyncio.timeout(20):
            for client in clients:
                await client.subscribed.wait()
        await asyncio.to_thread(sending.trigger, "show-1", "n", 1)
        assert await sockets(up) == {"push-1", "push-2"}
        before = gateways(up)
        os.kill(up.process.pid, signal.SIGUSR1)
        await up.until_printed("push-2 is replaced by a new process")
        assert len(gateways(up)) == 2
        assert not gateways(up) & before
        await until(lambda: all(len(client.waits) > 1 for client in clients), 10)
        await asyncio.to_thread(sending.trigger, "show-1", "n", 2)
        await until(lambda: all(2 in client.received for client in clients), 10)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert all(client.received == [1, 2] for client in clients)
    assert sum(client.refused for client in clients) == 0
    again = sorted(wait for client in clients for wait in client.waits[1:])
    assert again[len(again) // 2] < MAX_WAIT_SECONDS


async def until_status(visitor: httpx.AsyncClient, status: int) -> None:
    async with asyncio.timeout(30):
        while (await visitor.get("/readyz")).status_code != status:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def sockets(up: Running) -> set[str]:
    """The gateways that have sockets, by their metrics."""
    async with up.visitor() as visitor:
        metrics = (await visitor.get("/metrics")).text
    return {
        name
        for line in metrics.splitlines()
        for name in ("push-1", "push-2")
        if line.startswith(f'gittix_push_sockets{{process="{name}"}}')
        and float(line.split()[-1]) > 0
    }


async def test_readiness_names_a_dead_gateway_while_the_other_serves(up: Running) -> None:
    environment = environment_of(up.folder)
    url = f"http://127.0.0.1:{environment['PUSHER_PORT']}"
    pid = min(gateways(up))
    async with up.visitor() as visitor, httpx.AsyncClient(base_url=url) as push:
        ready = (await visitor.get("/readyz")).json()
        assert {name.partition(".")[0] for name in ready["checks"]} >= {"push-1", "push-2"}
        os.kill(pid, signal.SIGKILL)
        # Connections in the dead one's queue are reset; each new one reaches the other.
        await until_status(visitor, 503)
        assert (await push.get("/healthz")).status_code == 200
        await until_status(visitor, 200)
