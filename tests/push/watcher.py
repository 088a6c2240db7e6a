"""The browser's side of push in a test: real pusher-js under Node, controlled from Python.

async with Watcher(host="127.0.0.1", port=port, key=key, channels=["show-1"]) as watcher:
    await watcher.subscribed("show-1")
    event = await watcher.event("ticket.held", "show-1")
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.node import installed, node

HERE = Path(__file__).parent / "node"


@dataclass(frozen=True)
class Endpoint:
    """The endpoint from which pusher-js requests an authorization."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Seen:
    """An event received by the page's code; `at` is Unix time in seconds."""

    at: float
    event: str
    channel: str | None
    data: Any


class Watcher:
    def __init__(
        self,
        *,
        host: str,
        port: int,
        key: str,
        channels: Sequence[str] = (),
        auth: Endpoint | None = None,
        user_auth: Endpoint | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._config = {
            "host": host,
            "port": port,
            "key": key,
            "channels": list(channels),
            "auth": _wire(auth),
            "userAuth": _wire(user_auth),
            "options": dict(options or {}),
        }
        self.seen: list[Seen] = []
        self._taken: set[int] = set()
        self._news = asyncio.Condition()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        modules = await asyncio.to_thread(installed, HERE, "node")
        config = json.dumps({**self._config, "modules": str(modules)})
        self._process = await asyncio.create_subprocess_exec(
            node(),
            str(HERE / "watch.mjs"),
            config,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=4 * 1024 * 1024,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._reading is not None
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def event(self, name: str, channel: str | None = None, seconds: float = 5.0) -> Seen:
        """Return the oldest matching event that no earlier call returned; waits for it."""
        async with asyncio.timeout(seconds), self._news:
            while True:
                for index, seen in enumerate(self.seen):
                    if (
                        index not in self._taken
                        and seen.event == name
                        and channel in (None, seen.channel)
                    ):
                        self._taken.add(index)
                        return seen
                await self._news.wait()

    async def socket_id(self) -> str:
        return str((await self.event("connected")).data["socket_id"])

    async def subscribed(self, channel: str, seconds: float = 5.0) -> Seen:
        return await self.event("pusher:subscription_succeeded", channel, seconds)

    async def do(self, command: str, **arguments: Any) -> None:
        """Send pusher-js a command: subscribe, unsubscribe, trigger, send, signin, disconnect."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()

    def events(self, name: str, channel: str | None = None) -> list[Seen]:
        """Return all matching events received so far."""
        return [
            seen for seen in self.seen if seen.event == name and channel in (None, seen.channel)
        ]

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            printed = json.loads(line)
            async with self._news:
                self.seen.append(
                    Seen(
                        printed["at"] / 1_000,
                        printed["event"],
                        printed["channel"],
                        printed.get("data"),
                    )
                )
                self._news.notify_all()


def _wire(endpoint: Endpoint | None) -> dict[str, Any] | None:
    return {"endpoint": endpoint.url, "headers": dict(endpoint.headers)} if endpoint else None
