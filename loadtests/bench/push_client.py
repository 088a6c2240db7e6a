"""A Pusher client for benchmarks, with the time of each message's arrival."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect

Match = Callable[[str, Any], bool]


class PushClient:
    """The messages of one connection, with arrivals by time.perf_counter()."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._waiting: list[tuple[Match, asyncio.Future[float]]] = []

    def arrival(self, match: Match) -> "asyncio.Future[float]":
        """Return the arrival of the next message for which `match(event, data)` is true.

        Call this before the action that causes the message.
        """
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((match, future))
        return future

    async def read(self) -> None:
        async for text in self._socket:
            now = time.perf_counter()
            frame = msgspec.json.decode(text)
            if frame["event"] == "pusher:ping":
                await self._socket.send('{"event":"pusher:pong","data":{}}')
                continue
            data = (
                msgspec.json.decode(frame["data"])
                if isinstance(frame.get("data"), str)
                else frame.get("data")
            )
            for waiting in [
                waiting for waiting in self._waiting if waiting[0](frame["event"], data)
            ]:
                self._waiting.remove(waiting)
                if not waiting[1].done():
                    waiting[1].set_result(now)


@asynccontextmanager
async def connected(push_url: str, key: str, *channels: str) -> AsyncIterator[PushClient]:
    """Connect and subscribe to these public channels."""
    async with connect(f"{push_url}/app/{key}?protocol=7&client=bench&version=1") as socket:
        watch = PushClient(socket)
        reading = asyncio.create_task(watch.read())
        try:
            for channel in channels:
                done = watch.arrival(
                    lambda event, _: event == "pusher_internal:subscription_succeeded"
                )
                frame = {"event": "pusher:subscribe", "data": {"channel": channel}}
                await socket.send(msgspec.json.encode(frame).decode())
                await asyncio.wait_for(done, 5)
            yield watch
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
