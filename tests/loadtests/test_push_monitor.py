"""Counts of missing and repeated messages, the state of a page, and latencies of actions."""

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from loadtests.latency import ActionLatency
from loadtests.market_state import MarketState
from loadtests.push_message import PushMessage, decode
from loadtests.pusher import Channel, Deliveries

SHOW = uuid4()


def numbered(seq: int, epoch: int = 1) -> PushMessage:
    return PushMessage(epoch=epoch, seq=seq)


def recorded(*messages: PushMessage) -> Deliveries:
    deliveries, channel = Deliveries(), Channel()
    for each in messages:
        channel.record(each, deliveries)
    return deliveries


def test_a_gap_in_the_sequence_numbers_counts_as_missing_messages() -> None:
    assert recorded(numbered(7), numbered(8), numbered(11)).missing == 2


def test_numbers_before_the_first_message_are_not_missing() -> None:
    assert recorded(numbered(7)).missing == 0


def test_a_number_received_again_counts_as_repeated() -> None:
    deliveries = recorded(numbered(7), numbered(8), numbered(8))
    assert (deliveries.repeated, deliveries.missing) == (1, 0)


def test_a_new_epoch_restarts_the_numbers() -> None:
    deliveries = recorded(numbered(7), numbered(1, epoch=2), numbered(2, epoch=2))
    assert (deliveries.epochs, deliveries.missing, deliveries.repeated) == (1, 0, 0)


def test_a_message_without_a_number_is_not_counted() -> None:
    assert recorded(numbered(7), PushMessage(), numbered(8)) == Deliveries()


def message(
    ticket_id: str, status: str, version: int, held_until: datetime | None = None
) -> PushMessage:
    until = f'"{held_until.isoformat()}"' if held_until else "null"
    left = 60.0 if held_until else "null"
    return decode(
        f'{{"_epoch":1,"_seq":1,"ticket":{{"id":"{ticket_id}","show_id":"{SHOW}",'
        f'"status":"{status}","version":{version},"held_until":{until},'
        f'"seconds_left":{left},"price":1}}}}'
    )


def test_the_time_of_a_hold_is_derived_from_its_message() -> None:
    held_until = datetime(2030, 1, 1, tzinfo=UTC)
    ticket = message("one", "held", 2, held_until).ticket
    assert ticket
    assert ticket.changed_at == (held_until - timedelta(seconds=60)).timestamp()


def test_the_state_keeps_the_newest_version() -> None:
    market = MarketState()
    market.add([{"id": "one", "show_id": str(SHOW), "status": "available", "version": 1}])
    newer, older = message("one", "sold", 3).ticket, message("one", "available", 2).ticket
    assert newer
    assert older
    assert market.apply(newer)
    assert market.apply(older) is None
    assert market.sold_out()


def test_an_expired_hold_counts_as_free() -> None:
    market = MarketState()
    now = datetime.now(UTC)
    for ticket_id, until in (
        ("ended", now - timedelta(seconds=1)),
        ("held", now + timedelta(seconds=9)),
    ):
        ticket = message(ticket_id, "held", 2, until).ticket
        assert ticket
        market.apply(ticket)
    assert market.free(SHOW) == ["ended"]


@pytest.mark.parametrize("reply_first", [True, False])
def test_an_action_is_measured_in_either_order_of_reply_and_message(*, reply_first: bool) -> None:
    measured: list[float] = []
    latency = ActionLatency(measured.append)
    started_at = time.monotonic() - 0.5
    if reply_first:
        latency.started("hold", started_at)
    latency.arrived("hold")
    latency.arrived("hold")
    if not reply_first:
        assert measured == []
        latency.started("hold", started_at)
    assert len(measured) == 2
    assert all(500 <= late < 900 for late in measured)
