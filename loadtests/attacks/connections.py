"""Connections that send nothing, half of a request, a request byte by byte, or too large a head."""

import asyncio
from collections.abc import Awaitable, Callable

from loadtests.attacks.attacker import NETWORK, Attacker, connect, end
from loadtests.attacks.wire import HOST, upgrade

PER_SECOND = 100
ADDRESSES = 4
LARGE_HEAD = (
    f"GET / HTTP/1.1\r\nHost: {HOST}\r\n".encode()
    + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1_000) for number in range(64))
    + b"\r\n"
)

Write = Callable[[Attacker, asyncio.StreamWriter], Awaitable[None]]


async def connections(attacker: Attacker) -> None:
    """New connections to both ports from four addresses, each open until the server closes it."""
    waiting: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        task = asyncio.create_task(_hold_open(attacker, number))
        waiting.add(task)
        task.add_done_callback(waiting.discard)

    await attacker.at_rate(PER_SECOND, one)
    attacker.outcomes["still open"] += len(waiting)
    for task in list(waiting):
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def _hold_open(attacker: Attacker, number: int) -> None:
    target = (attacker.site.api, attacker.site.gateway)[number % 2]
    source = f"{NETWORK}.{20 + number % ADDRESSES}"
    try:
        async with asyncio.timeout(5):
            reader, writer = await connect(target, source)
    except (OSError, TimeoutError):
        attacker.outcomes["no connection"] += 1
        return
    writing = asyncio.ensure_future(WRITES[number // 2 % len(WRITES)](attacker, writer))
    try:
        received = await reader.read(100)
        attacker.outcomes[received[9:12].decode() if received else "closed"] += 1
    except OSError:
        attacker.outcomes["closed"] += 1
    finally:
        await end(writing)
        writer.transport.abort()


async def _nothing(_attacker: Attacker, _writer: asyncio.StreamWriter) -> None:
    """Send nothing."""


async def _half(attacker: Attacker, writer: asyncio.StreamWriter) -> None:
    writer.write(upgrade(attacker.site.socket_path)[:-2])


async def _large(_attacker: Attacker, writer: asyncio.StreamWriter) -> None:
    writer.write(LARGE_HEAD)


async def _slow(attacker: Attacker, writer: asyncio.StreamWriter) -> None:
    for byte in upgrade(attacker.site.socket_path):
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


WRITES: tuple[Write, ...] = (_nothing, _half, _large, _slow)
