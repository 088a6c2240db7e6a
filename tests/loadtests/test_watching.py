"""What the sockets prove: jumps, repeats, stale pages, and how long a change took."""

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from loadtests.board import Board
from loadtests.clicks import Clicks
from loadtests.pusher import Channel, Evidence
from loadtests.told import Told, decode

SHOW = uuid4()


def numbered(seq: int, epoch: int = 1) -> Told:
    return Told(epoch=epoch, seq=seq)


def placed(*messages: Told) -> Evidence:
    evidence, channel = Evidence(), Channel()
    for told in messages:
        channel.place(told, evidence)
    return evidence


def test_every_number_that_is_jumped_over_is_a_message_that_is_missing() -> None:
    assert placed(numbered(7), numbered(8), numbered(11)).missing == 2


def test_the_first_number_says_nothing_of_what_came_before() -> None:
    assert placed(numbered(7)).missing == 0


def test_a_number_that_comes_again_is_a_repeat() -> None:
    evidence = placed(numbered(7), numbered(8), numbered(8))
    assert (evidence.repeated, evidence.missing) == (1, 0)


def test_under_a_new_epoch_numbers_begin_anew() -> None:
    evidence = placed(numbered(7), numbered(1, epoch=2), numbered(2, epoch=2))
    assert (evidence.epochs, evidence.missing, evidence.repeated) == (1, 0, 0)


def test_what_has_no_number_proves_nothing() -> None:
    assert placed(numbered(7), Told(), numbered(8)) == Evidence()


def message(ticket_id: str, status: str, version: int, held_until: datetime | None = None) -> Told:
    until = f'"{held_until.isoformat()}"' if held_until else "null"
    left = 60.0 if held_until else "null"
    return decode(
        f'{{"_epoch":1,"_seq":1,"ticket":{{"id":"{ticket_id}","show_id":"{SHOW}","status":"{status}",'
        f'"version":{version},"held_until":{until},"seconds_left":{left},"price":1}}}}'
    )


def test_a_held_ticket_tells_when_that_was() -> None:
    held_until = datetime(2030, 1, 1, tzinfo=UTC)
    ticket = message("one", "held", 2, held_until).ticket
    assert ticket
    assert ticket.changed_at == (held_until - timedelta(seconds=60)).timestamp()


def test_the_board_keeps_the_newest_version() -> None:
    board = Board()
    board.put_on_sale([{"id": "one", "show_id": str(SHOW), "status": "available", "version": 1}])
    newer, older = message("one", "sold", 3).ticket, message("one", "available", 2).ticket
    assert newer
    assert older
    assert board.tell(newer)
    assert board.tell(older) is None
    assert board.sold_out()


def test_a_hold_past_its_time_is_shown_as_free() -> None:
    board = Board()
    now = datetime.now(UTC)
    for ticket_id, until in (
        ("ended", now - timedelta(seconds=1)),
        ("held", now + timedelta(seconds=9)),
    ):
        ticket = message(ticket_id, "held", 2, until).ticket
        assert ticket
        board.tell(ticket)
    assert board.free(SHOW) == ["ended"]


@pytest.mark.parametrize("reply_first", [True, False])
def test_a_click_is_measured_whichever_comes_first(*, reply_first: bool) -> None:
    measured: list[float] = []
    clicks = Clicks(measured.append)
    clicked_at = time.monotonic() - 0.5
    if reply_first:
        clicks.clicked("hold", clicked_at)
    clicks.arrived("hold")
    clicks.arrived("hold")
    if not reply_first:
        assert measured == []
        clicks.clicked("hold", clicked_at)
    assert len(measured) == 2
    assert all(500 <= late < 900 for late in measured)
