"""How a process ends: by the first signal in good order, by the second at once; and work that is not stopped halfway."""

import asyncio
import signal
import subprocess
import sys
import time

import pytest

from backend.kernel.shutdown import whole

PROCESS = """
import asyncio
import uvloop
from backend.kernel.shutdown import stop_asked

async def main():
    with stop_asked() as stop:
        print("up", flush=True)
        await stop.wait()
        print("asked", flush=True)
        await asyncio.sleep({seconds})

uvloop.run(main())
print("ended", flush=True)
"""


def process(seconds: float) -> subprocess.Popen[str]:
    """One that takes so long to end after it was asked to."""
    command = [sys.executable, "-c", PROCESS.format(seconds=seconds)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "up\n"
    return started


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_the_process_ends_well(number: signal.Signals) -> None:
    with process(seconds=0.1) as started:
        started.send_signal(number)
        assert started.wait(10) == 0
        assert started.stdout is not None
        assert started.stdout.read() == "asked\nended\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_it_at_once(number: signal.Signals) -> None:
    with process(seconds=30) as started:
        assert started.stdout is not None
        started.send_signal(signal.SIGTERM)
        assert started.stdout.readline() == "asked\n"
        asked_at = time.monotonic()
        started.send_signal(number)
        assert started.wait(10) == 128 + number
        assert time.monotonic() - asked_at < 5


async def test_a_cancellation_waits_for_the_whole_however_often_it_comes() -> None:
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.1)
        done.set()

    task = asyncio.create_task(whole(work()))
    for _ in range(3):
        await asyncio.sleep(0.01)
        task.cancel()
        assert not done.is_set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()


async def test_a_cancellation_waits_no_longer_than_it_was_told() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("cancelled")

    task = asyncio.create_task(whole(work(), seconds=0.05))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert ended == ["cancelled"]


async def test_what_the_work_returns_and_raises_is_passed_on() -> None:
    async def divided(by: int) -> int:
        return 10 // by

    assert await whole(divided(5)) == 2
    with pytest.raises(ZeroDivisionError):
        await whole(divided(0))
