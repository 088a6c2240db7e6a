"""Background tasks: restarted when they raise or return, cancelled at the end of their block."""

import asyncio
from typing import NoReturn

import pytest

from backend.kernel import supervisor
from backend.kernel.metrics import TASK_RESTARTS
from backend.kernel.supervisor import running, supervise

SUPERVISED = "supervised by this test"


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The recorded delays between restarts, without waiting for them."""
    seen: list[float] = []
    sleep = asyncio.sleep

    async def recorded(seconds: float) -> None:
        # Services of other tests run tasks in this process.
        task = asyncio.current_task()
        if task is None or task.get_name() != SUPERVISED:
            await sleep(seconds)
            return
        seen.append(seconds)
        await sleep(0)

    monkeypatch.setattr("backend.kernel.supervisor.asyncio.sleep", recorded)
    monkeypatch.setattr("backend.kernel.supervisor.random.uniform", lambda _low, high: high)
    return seen


async def runs(work: supervisor.Work, name: str) -> None:
    task = asyncio.create_task(supervise(name, work), name=SUPERVISED)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loop_that_fails_is_started_again_with_growing_pauses(delays: list[float]) -> None:
    turns = 0

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns == 9:
            raise asyncio.CancelledError
        raise RuntimeError("no")

    await runs(work, "failing")
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert TASK_RESTARTS.labels(task="failing")._value.get() == 8


async def test_a_loop_that_returns_is_started_again(delays: list[float]) -> None:
    turns = 0

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            raise asyncio.CancelledError

    await runs(work, "returning")
    assert len(delays) == 2


async def test_a_loop_that_was_well_starts_over_with_the_shortest_pause(
    delays: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "HEALTHY_SECONDS", -1.0)
    turns = 0

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns == 4:
            raise asyncio.CancelledError
        raise RuntimeError("no")

    await runs(work, "healthy")
    assert delays == [0.1, 0.1, 0.1]


async def test_the_end_of_the_block_is_the_end_of_its_loops() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with running(("one", work), ("two", work)):
        await asyncio.sleep(0)
        assert not ended.is_set()
    assert ended.is_set()
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"one", "two"})


async def test_loops_end_although_the_block_fails() -> None:
    async def work() -> NoReturn:
        await asyncio.sleep(60)
        raise AssertionError

    async def block() -> None:
        async with running(("one", work)):
            await asyncio.sleep(0)
            raise ValueError("the block")

    with pytest.raises(ValueError, match="the block"):
        await block()
    assert "one" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_a_loop_that_loses_a_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "CANCEL_AGAIN_SECONDS", 0.01)
    lost = 0

    async def work() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost == 3:
                    raise

    async with running(("stubborn", work)):
        await asyncio.sleep(0)
    assert lost == 3
