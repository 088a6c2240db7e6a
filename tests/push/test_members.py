"""What a gateway holds, without Redis: its reports, and the rosters that its subscribers know."""

import asyncio
from typing import Any

import msgspec
import pytest

from backend.push import members as module
from backend.push.members import Batch, Change, Members, Roster

INFO = msgspec.Raw(b'{"name":"x"}')
SECONDS = 1.0
MISSING_SECONDS = 0.05


class Sent:
    """Records what subscribers get."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []

    def __call__(self, channel: str, event: str, content: Any, user_id: str) -> None:
        self.changes.append((event.removeprefix("pusher_internal:member_"), user_id))


def empty(sent: Sent, max_members: int = 100) -> Members:
    return Members(sent, max_members=max_members, missing_seconds=MISSING_SECONDS)


def roster(version: int, *users: str) -> Roster:
    return Roster(version, dict.fromkeys(users, INFO))


def change(before: int, version: int, kind: Any, user_id: str) -> Change:
    return Change("presence-a", before, version, kind, user_id, INFO)


async def joined(members: Members, version: int, *users: str) -> None:
    """Join as ann, and read a roster with these users."""
    assert await members.join("presence-a", "ann", INFO, SECONDS)
    members.accepted(members.take(), [], {"presence-a": roster(version, "ann", *users)})


async def test_channels_beyond_the_bound_are_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHANNELS", 2)
    members = empty(Sent())
    for name in ("a", "b", "c"):
        members.count(name, 1)
    assert not await members.join("presence-a", "ann", INFO, SECONDS)
    assert {report.channel for report in members.take().reports} == {"a", "b"}
    members.count("a", 0)
    # Not the change, but the number of subscriptions counts once there is room.
    members.count("c", 7)
    reports = {report.channel: report.subscriptions for report in members.take().reports}
    assert reports == {"a": 0, "c": 7}


async def test_presence_channels_beyond_the_bound_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_PRESENCE_CHANNELS", 1)
    members = empty(Sent())
    assert await members.join("presence-a", "ann", INFO, SECONDS)
    assert not await members.join("presence-b", "ann", INFO, SECONDS)
    members.leave("presence-a", "ann")
    assert await members.join("presence-b", "ann", INFO, SECONDS)


async def test_a_call_has_a_bounded_number_of_items() -> None:
    members = empty(Sent())
    for number in range(1_200):
        members.count(f"c{number}", 1)
    sizes = []
    while members.has_reports:
        sizes.append(len(members.take().reports))
    assert sizes == [200] * 6


async def test_a_client_that_waits_is_reported_before_all_others() -> None:
    members = empty(Sent())
    members.accepted(Batch(), [], {})
    for number in range(1_200):
        members.count(f"c{number}", 1)
    waiting = asyncio.create_task(members.join("presence-a", "ann", INFO, SECONDS))
    await asyncio.sleep(0)
    batch = members.take()
    assert batch.reports[0].channel == "presence-a"
    members.accepted(batch, [], {"presence-a": roster(1, "ann")})
    assert await waiting


async def test_the_reports_of_a_failed_call_are_due_again() -> None:
    members = empty(Sent())
    members.count("a", 2)
    members.failed(members.take())
    members.count("a", 3)
    [report] = members.take().reports
    assert report.subscriptions == 3


async def test_a_client_that_leaves_while_it_waits_is_reported_as_gone() -> None:
    members = empty(Sent())
    members.accepted(Batch(), [], {})
    waiting = asyncio.create_task(members.join("presence-a", "ann", INFO, SECONDS))
    await asyncio.sleep(0)
    members.failed(members.take())
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    [report] = members.take().reports
    assert (report.subscriptions, report.members) == (0, [("ann", "", 0)])


async def test_without_an_answer_a_join_is_admitted_after_its_time() -> None:
    sent = Sent()
    members = empty(sent, max_members=2)
    members.accepted(Batch(), [], {})
    assert await members.join("presence-a", "ann", INFO, 0.01)
    assert await members.join("presence-a", "bob", INFO, 0.01)
    assert not await members.join("presence-a", "cyd", INFO, 0.01)
    assert sent.changes == [("added", "ann"), ("added", "bob")]
    # Redis counts those that were admitted, whatever the bound.
    [report] = members.take().reports
    assert sorted(report.members) == [
        ("ann", '{"name":"x"}', 1),
        ("bob", '{"name":"x"}', 1),
        ("cyd", "", 0),
    ]


async def test_a_change_that_is_known_is_not_sent_again() -> None:
    sent = Sent()
    members = empty(sent)
    await joined(members, 10, "bob")
    sent.changes.clear()
    members.apply(change(9, 10, "removed", "bob"))
    members.apply(change(10, 11, "added", "bob"))
    members.apply(change(11, 12, "removed", "bob"))
    members.apply(change(11, 12, "removed", "bob"))
    assert sent.changes == [("removed", "bob")]


async def test_a_missed_change_makes_the_gateway_read_the_roster_and_send_the_difference() -> None:
    sent = Sent()
    members = empty(sent)
    await joined(members, 10, "bob")
    sent.changes.clear()
    members.apply(change(11, 12, "added", "cyd"))
    assert sent.changes == []
    [report] = members.take().reports
    assert report.read_roster
    members.accepted(Batch([report]), [], {"presence-a": roster(12, "ann", "bob", "cyd", "dan")})
    assert sorted(sent.changes) == [("added", "cyd"), ("added", "dan")]


async def test_changes_that_arrive_while_the_roster_is_read_follow_it() -> None:
    sent = Sent()
    members = empty(sent)
    assert await members.join("presence-a", "ann", INFO, SECONDS)
    batch = members.take()
    members.apply(change(10, 11, "added", "bob"))
    members.apply(change(11, 12, "removed", "cyd"))
    sent.changes.clear()
    members.accepted(batch, [], {"presence-a": roster(11, "ann", "bob", "cyd")})
    assert sorted(sent.changes) == [("added", "bob"), ("added", "cyd"), ("removed", "cyd")]
    assert set(members.user_ids("presence-a")) == {"ann", "bob"}


async def test_a_roster_of_a_call_before_a_return_is_not_used() -> None:
    """It may lack changes that arrived while nobody here was in the channel."""
    members = empty(Sent())
    assert await members.join("presence-a", "ann", INFO, SECONDS)
    batch = members.take()
    members.leave("presence-a", "ann")
    assert await members.join("presence-a", "ann", INFO, SECONDS)
    members.accepted(batch, [], {"presence-a": roster(11, "ann", "bob")})
    assert set(members.user_ids("presence-a")) == {"ann"}
    [report] = members.take().reports
    assert report.read_roster


async def test_a_member_that_a_roster_lacks_is_removed_after_a_second_read() -> None:
    sent = Sent()
    members = empty(sent)
    await joined(members, 10, "bob", "cyd")
    sent.changes.clear()
    members.report_all()
    members.accepted(members.take(), [], {"presence-a": roster(20, "ann")})
    assert sent.changes == []
    # Its gateway reports it again.
    members.apply(change(20, 21, "added", "bob"))
    await asyncio.sleep(MISSING_SECONDS)
    assert members.due_at() <= asyncio.get_running_loop().time()
    members.accepted(members.take(), [], {"presence-a": roster(21, "ann", "bob")})
    assert sent.changes == [("removed", "cyd")]
    assert members.due_at() == float("inf")
