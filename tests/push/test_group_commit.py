"""Publishers share appends: none is lost, reordered, or acknowledged before its append."""

import asyncio
from collections.abc import Sequence

import pytest

from backend.push.group_commit import MAX_MESSAGES, GroupCommit
from backend.push.push_log import Message
from backend.push.push_log_backend import PushLogBackend, PushLogUnavailable
from tests.push.servers import RedisServer, entries


def numbered(at: int) -> Message:
    return Message(("a",), "n", str(at))


class Log:
    """Appends when it is released; fails with `error`."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.released = asyncio.Event()
        self.error: OSError | None = None

    async def append(self, messages: Sequence[Message]) -> None:
        self.calls.append([message.data for message in messages])
        await self.released.wait()
        if self.error is not None:
            raise self.error


async def started(commit: GroupCommit, count: int) -> list["asyncio.Task[None]"]:
    tasks = [asyncio.create_task(commit.add([numbered(at)])) for at in range(count)]
    await asyncio.sleep(0.01)
    return tasks


async def test_publishers_that_wait_share_the_next_append_in_order() -> None:
    log = Log()
    commit = GroupCommit(log.append)
    (first,) = await started(commit, 1)
    others = await started(commit, 50)
    assert log.calls == [["0"]]
    assert not first.done()
    log.released.set()
    await asyncio.gather(first, *others)
    assert log.calls == [["0"], [str(at) for at in range(50)]]


async def test_an_append_has_a_bounded_number_of_messages() -> None:
    log = Log()
    log.released.set()
    await asyncio.gather(*await started(GroupCommit(log.append), 3 * MAX_MESSAGES))
    assert max(map(len, log.calls)) == MAX_MESSAGES
    assert sum(map(len, log.calls)) == 3 * MAX_MESSAGES


async def test_a_failed_append_fails_all_that_wait_and_the_next_succeeds() -> None:
    log = Log()
    commit = GroupCommit(log.append)
    tasks = await started(commit, 1) + await started(commit, 3)
    log.error = PushLogUnavailable("down")
    log.released.set()
    failed = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in failed] == [PushLogUnavailable] * 4
    log.error = None
    await commit.add([numbered(9)])
    assert log.calls == [["0"], ["9"]]


async def test_a_caller_that_is_cancelled_takes_no_other_with_it() -> None:
    log = Log()
    commit = GroupCommit(log.append)
    (first,) = await started(commit, 1)
    cancelled, other = await started(commit, 2)
    first.cancel()
    cancelled.cancel()
    log.released.set()
    await other
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_the_log_has_every_message_of_concurrent_publishers_in_order(
    redis_server: RedisServer,
) -> None:
    backend = PushLogBackend(redis_server.url)
    await asyncio.gather(*[backend.append(numbered(at)) for at in range(500)])
    await backend.disconnect()
    found = entries(redis_server.url)
    appended = [message.data for entry in found for message in entry.messages]
    assert appended == [str(at) for at in range(500)]
    assert len(found) < 500


@pytest.mark.parametrize("fault", ["scripts are lost", "the connection is closed"])
async def test_an_append_after_a_fault_that_was_over_succeeds(
    redis_server: RedisServer, fault: str
) -> None:
    backend = PushLogBackend(redis_server.url)
    await backend.append(numbered(1))
    with redis_server.client() as client:
        if fault == "scripts are lost":
            client.script_flush()
        else:
            client.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.05)
    await backend.append(numbered(2))
    await backend.disconnect()
    assert [entry.messages[0].data for entry in entries(redis_server.url)] == ["1", "2"]
