"""Shutdown: the first signal stops gracefully, the second at once; work that must not stop
halfway is finished.
"""

import asyncio
import signal
import subprocess
import sys
import time

import pytest

from backend.kernel.shutdown import finish_before_cancel

PROCESS = """
import asyncio
import uvloop
from backend.kernel.shutdown import stop_event

async def main():
    with stop_event() as stop:
        print("up", flush=True)
        await stop.wait()
        print("stopping", flush=True)
        await asyncio.sleep({seconds})

uvloop.run(main())
print("stopped", flush=True)
"""


def process(seconds: float) -> subprocess.Popen[str]:
    """A process that needs so many seconds to stop after the first signal."""
    command = [sys.executable, "-c", PROCESS.format(seconds=seconds)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "up\n"
    return started


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_the_process_with_status_0(number: signal.Signals) -> None:
    with process(seconds=0.1) as started:
        started.send_signal(number)
        assert started.wait(10) == 0
        assert started.stdout is not None
        assert started.stdout.read() == "stopping\nstopped\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_the_process_at_once(number: signal.Signals) -> None:
    with process(seconds=30) as started:
        assert started.stdout is not None
        started.send_signal(signal.SIGTERM)
        assert started.stdout.readline() == "stopping\n"
        stopping_since = time.monotonic()
        started.send_signal(number)
        assert started.wait(10) == 128 + number
        assert time.monotonic() - stopping_since < 5


async def test_repeated_cancellations_wait_for_the_work_to_finish() -> None:
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.1)
        done.set()

    task = asyncio.create_task(finish_before_cancel(work()))
    for _ in range(3):
        await asyncio.sleep(0.01)
        task.cancel()
        assert not done.is_set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()


async def test_a_cancellation_cancels_the_work_after_its_time_limit() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("cancelled")

    task = asyncio.create_task(finish_before_cancel(work(), seconds=0.05))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert ended == ["cancelled"]


async def test_the_result_and_the_exception_of_the_work_are_passed_on() -> None:
    async def divided(by: int) -> int:
        return 10 // by

    assert await finish_before_cancel(divided(5)) == 2
    with pytest.raises(ZeroDivisionError):
        await finish_before_cancel(divided(0))
