"""Shared reads: few run, and none begins before the request that gets its result."""

import asyncio
import random

import pytest

from backend.kernel.shared_reads import SharedReads


class Store:
    """A value, and a read of it that ends when the test allows it."""

    def __init__(self) -> None:
        self.value = 0
        self.reads = 0
        self.running = 0
        self.gate = asyncio.Event()

    async def read(self) -> int:
        self.reads += 1
        self.running += 1
        value = self.value
        await self.gate.wait()
        self.running -= 1
        return value


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_requests_that_arrive_during_a_read_share_the_next_one() -> None:
    shared, store = SharedReads[int](), Store()
    first = asyncio.create_task(shared.get("key", store.read))
    await settle()
    store.value = 1
    later = [asyncio.create_task(shared.get("key", store.read)) for _ in range(1_000)]
    await settle()
    assert (store.reads, store.running) == (1, 1)
    store.gate.set()
    assert await first == 0
    assert set(await asyncio.gather(*later)) == {1}
    assert store.reads == 2


async def test_reads_of_different_keys_run_at_the_same_time() -> None:
    shared, store = SharedReads[int](), Store()
    tasks = [asyncio.create_task(shared.get(key, store.read)) for key in range(5)]
    await settle()
    assert store.running == 5
    store.gate.set()
    await asyncio.gather(*tasks)


async def test_no_result_is_older_than_its_request() -> None:
    shared, value = SharedReads[int](), 0
    chance = random.Random(1)

    async def read() -> int:
        await asyncio.sleep(0)
        found = value
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        return found

    async def request() -> None:
        before = value
        assert await shared.get("key", read) >= before

    async with asyncio.TaskGroup() as tasks:
        for _ in range(2_000):
            value += 1
            tasks.create_task(request())
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
    await settle()
    assert (shared._running, shared._waiting) == ({}, {})


async def test_an_error_reaches_each_request_and_is_not_kept() -> None:
    shared, gate = SharedReads[int](), asyncio.Event()

    async def fail() -> int:
        await gate.wait()
        raise ValueError("no")

    async def answer() -> int:
        return 7

    tasks = [asyncio.create_task(shared.get("key", fail)) for _ in range(3)]
    await settle()
    gate.set()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, ValueError)
    assert await shared.get("key", answer) == 7


async def test_a_cancelled_request_leaves_the_read_to_the_others() -> None:
    shared, store = SharedReads[int](), Store()
    first = asyncio.create_task(shared.get("key", store.read))
    await settle()
    cancelled, kept = (asyncio.create_task(shared.get("key", store.read)) for _ in range(2))
    await settle()
    first.cancel()
    cancelled.cancel()
    store.gate.set()
    assert await kept == 0
    with pytest.raises(asyncio.CancelledError):
        await first
    assert store.reads == 2
