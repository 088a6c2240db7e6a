"""Verifies an idle system after crashes, and returns a sentence for each violation.

It reads the rows, the stream, the push log, Stripe's ledger and the API, never a process's own
report.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from backend.check import check_invariants
from backend.events.stream import DEAD_LETTERS, STREAM, EntryId, EventStream
from backend.push import push_log as push
from tests.crash.processes import Processes
from tests.crash.scenario import PASSWORD, Promise, World
from workers import expiration, payments
from workers.notifier import entry_id_of

IDLE_SECONDS = 20.0
NUDGE_SECONDS = 0.7
CONSUMERS = {
    expiration.CONSUMER: ("orders", expiration.TYPES),
    payments.CONSUMER: ("payments", payments.TYPES),
}


async def wait_until_idle(world: World, processes: Processes) -> None:
    """Wait until no work is unfinished.

    Raises AssertionError with the unfinished work at the timeout.
    """
    clock = asyncio.get_running_loop().time
    end, nudge = clock() + IDLE_SECONDS, clock() + NUDGE_SECONDS
    while waiting := await unfinished_work(world):
        processes.check()
        assert clock() < end, f"unfinished: {waiting}; died at {processes.died}"
        if clock() > nudge:
            await world.make_overdue()
            nudge = clock() + NUDGE_SECONDS
        await asyncio.sleep(0.03)


async def unfinished_work(world: World) -> list[str]:
    row = await world.rows.fetchrow(
        """
        select
            (select count(*) from tickets.tickets where status in ('held', 'reserved')) as taken,
            (select count(*) from orders.orders
                where status in ('pending', 'awaiting_payment', 'confirmed')) as unpaid,
            (select count(*) from payments.payments
                where status in ('started', 'requires_action', 'authorised')) as paying,
            (select count(*) from payments.webhook_events where handled_at is null) as webhooks,
            (select count(*) from events.outbox where position is null) as unnumbered,
            (select coalesce(max(position), 0) from events.outbox) as newest,
            (select position from push.notifier) as notified
        """
    )
    assert row is not None
    waiting = [
        f"{row[name]} {name}"
        for name in ("taken", "unpaid", "paying", "webhooks", "unnumbered")
        if row[name]
    ]
    redis = world.redis
    last = await EventStream(redis).last()
    if last.position != row["newest"]:
        waiting.append(f"the stream is at {last}, the outbox at {row['newest']}")
        return waiting
    # The push position is recorded twice, and the higher counts.
    recorded = await world.redis.hget(push.STATE, "position")  # type: ignore[misc]
    notified = entry_id_of(max(row["notified"], int(recorded or 0)))
    if notified != last:
        waiting.append(f"the notifier is at {notified} of {last}")
    counted = await _counted(world)
    shows = await world.rows.fetch(
        "select s.id, a.version from tickets.shows s, tickets.availability(s.id) a"
    )
    waiting += [
        f"show {show['id']} is at {show['version']}, counted at {counted.get(str(show['id']))}"
        for show in shows
        if counted.get(str(show["id"])) != show["version"]
    ]
    return waiting + [
        f"{group['name']} has {group['pending']} pending and read {group['last-delivered-id']}"
        for group in await world.redis.xinfo_groups(STREAM)
        if group["pending"] or EntryId.parse(group["last-delivered-id"]) != last
    ]


async def _counted(world: World) -> dict[str, int]:
    """Return the version of the last published count, by show."""
    counts = [
        json.loads(message.data)["show"]
        for entry_id, fields in await world.redis.xrange(push.STREAM)
        for message in push.read_entry(entry_id, fields).messages
        if message.event == "show.availability"
    ]
    return {show["id"]: show["version"] for show in counts}


async def violations(world: World) -> list[str]:
    """Return all violations."""
    outbox = await world.rows.fetch("select * from events.outbox order by position")
    return [
        *[wrong async for wrong in _promises(world)],
        *await _ends(world),
        *await _money(world),
        *_outbox(outbox),
        *await _stream(world, outbox),
        *await _push_log(world, outbox),
        *await _inbox(world, outbox),
        *[
            f"{result.invariant}: {violation}"
            for result in (await check_invariants(world.system.settings)).results
            # The tests' stores are not durable; `_promises` verifies the replies instead.
            if result.invariant != "I9"
            for violation in result.violations
        ],
    ]


async def _promises(world: World) -> AsyncIterator[str]:
    """I9: each 2xx reply is still true, and a repeated request gets the same reply."""
    for promise in world.promises:
        again = await promise.by.http.request(
            promise.method,
            promise.path,
            json=promise.body,
            headers={"Idempotency-Key": promise.key},
        )
        if (again.status_code, again.content) != (promise.status, promise.content):
            yield (
                f"{promise.method} {promise.path} was {promise.status},"
                f" and is {again.status_code}: {again.text}"
            )
        for wrong in await _kept(promise):
            yield f"{promise.method} {promise.path} was {promise.status}, but {wrong}"
    for email in world.accounts:
        reply = await world.visitor.post(
            "/api/users/signin", json={"email": email, "password": PASSWORD}
        )
        if reply.status_code != 200:
            yield f"{email} signed up and can't sign in: {reply.text}"


async def _kept(promise: Promise) -> list[str]:
    if promise.path == "/api/orders":
        path = f"/api/orders/{promise.json['id']}"
        lines = _bought((await promise.by.get(path)).json())
        return [
            *await _differences(promise, path, "total", "currency"),
            *([f"its lines are {lines}"] if lines != _bought(promise.json) else []),
        ]
    if promise.path == "/api/shows":
        return await _differences(promise, f"/api/shows/{promise.json['id']}", "title", "starts_at")
    if promise.path == "/api/tickets":
        return await _differences(
            promise, f"/api/tickets/{promise.json['id']}", "show_id", "seller_id"
        )
    if promise.method == "PUT":
        return await _differences(promise, promise.path, "price")
    if promise.method == "DELETE":
        status = (await promise.by.get(promise.path)).json()["status"]
        return [] if status in {"cancelled", "withdrawn"} else [f"it is {status}"]
    if promise.path == "/api/payments":
        status = (await promise.by.get(f"/api/orders/{promise.json['order_id']}")).json()["status"]
        return [] if status == "completed" else [f"its order is {status}"]
    paths = [f"/api/tickets/{ticket['id']}" for ticket in promise.json["items"]]
    return [
        f"{path} is missing" for path in paths if (await promise.by.get(path)).status_code != 200
    ]


def _bought(order: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of an order without the fields that a sale and a refund change."""
    return [
        {name: value for name, value in line.items() if name not in {"status", "refund_reason"}}
        for line in order["tickets"]
    ]


async def _differences(promise: Promise, path: str, *names: str) -> list[str]:
    body = (await promise.by.get(path)).json()
    return [
        f"its {name} is {body.get(name)}" for name in names if body.get(name) != promise.json[name]
    ]


async def _ends(world: World) -> list[str]:
    rows = await world.rows.fetch(
        """
        select o.id, o.status, array_agg(t.status) as tickets, bool_and(t.order_id = o.id) as has
        from orders.orders o join orders.lines l on l.order_id = o.id
            join tickets.tickets t on t.id = l.ticket_id
        group by o.id
        """
    )
    wrong = []
    for row in rows:
        expected = world.ends.get(str(row["id"]))
        if row["status"] != expected:
            wrong.append(f"order {row['id']} is {row['status']}, not {expected}")
        if row["status"] == "completed" and (set(row["tickets"]) != {"sold"} or not row["has"]):
            wrong.append(f"order {row['id']} is completed but its tickets are {row['tickets']}")
    if missing := world.ends.keys() - {str(row["id"]) for row in rows}:
        wrong.append(f"orders are gone: {missing}")
    return wrong


async def _money(world: World) -> list[str]:
    """I2: the total of each completed order is captured once, and no other money."""
    taken: defaultdict[str, list[Any]] = defaultdict(list)
    wrong = []
    for intent in await world.stripe.intents():
        if intent["amount_capturable"]:
            wrong.append(f"intent {intent['id']} still holds {intent['amount_capturable']}")
        if kept := intent["amount_received"] - intent["refunded"]:
            taken[intent["metadata"]["order_id"]].append((kept, intent["currency"].upper()))
    rows = await world.rows.fetch(
        "select id, total, currency from orders.orders where status = 'completed'"
    )
    owed = {str(row["id"]): [(row["total"], row["currency"])] for row in rows}
    wrong += [
        f"order {order_id}: taken {taken.get(order_id)}, owed {owed.get(order_id)}"
        for order_id in taken.keys() | owed.keys()
        if taken.get(order_id) != owed.get(order_id)
    ]
    return wrong


def _outbox(outbox: Sequence[Any]) -> list[str]:
    wrong = []
    if [row["position"] for row in outbox] != list(range(1, len(outbox) + 1)):
        wrong.append("the outbox's positions are not dense")
    versions: defaultdict[UUID, list[int]] = defaultdict(list)
    for row in outbox:
        versions[row["subject"]].append(row["version"])
    return wrong + [
        f"{subject} has events with the versions {found}"
        for subject, found in versions.items()
        if found != list(range(1, len(found) + 1))
    ]


async def _stream(world: World, outbox: Sequence[Any]) -> list[str]:
    """I5: the stream has each event of the outbox once, in order."""
    redis = world.redis
    entries = await redis.xrange(STREAM)
    published = [json.loads(fields[b"e"])["id"] for _, fields in entries]
    expected = [str(row["event_id"]) for row in outbox]
    wrong = []
    if published != expected:
        lost = [
            f"{row['type']} at {row['position']}"
            for row in outbox
            if str(row["event_id"]) not in published
        ]
        twice = [event_id for event_id, times in Counter(published).items() if times > 1]
        wrong.append(f"the stream differs from the outbox: lost {lost}, twice {twice}")
    if dead := await redis.xlen(DEAD_LETTERS):
        wrong.append(f"{dead} dead letters")
    return wrong


async def _push_log(world: World, outbox: Sequence[Any]) -> list[str]:
    """Each change of a ticket or an order has one message, and a channel's numbers no gap."""
    wrong = []
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    published: defaultdict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for entry_id, fields in await world.redis.xrange(push.STREAM):
        entry = push.read_entry(entry_id, fields)
        for channel, _, seq in entry.deliveries():
            assert seq is not None, f"{channel} has a message without a number"
            numbers[channel].append(seq)
        for message in entry.messages:
            data = json.loads(message.data)
            noun = "ticket" if message.channels[0].startswith("show-") else "order"
            if noun in data:
                published[noun, data[noun]["id"]].append((message.event, data[noun]["version"]))
    for channel, seen in numbers.items():
        if seen != list(range(seen[0], seen[0] + len(seen))):
            wrong.append(f"{channel} was numbered {seen}")
    expected: defaultdict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for row in outbox:
        noun = row["type"].partition(".")[0]
        if noun in {"ticket", "order"}:
            expected[noun, str(row["subject"])].append((row["type"], row["version"]))
    return wrong + [
        f"{subject}: published {published.get(subject)}, expected {expected.get(subject)}"
        for subject in sorted(published.keys() | expected.keys())
        if published.get(subject) != expected.get(subject)
    ]


async def _inbox(world: World, outbox: Sequence[Any]) -> list[str]:
    wrong = []
    for consumer, (schema, types) in CONSUMERS.items():
        rows = await world.rows.fetch(
            f"select event_id from {schema}.inbox where consumer = $1", consumer
        )
        handled = {row["event_id"] for row in rows}
        wrong += [
            f"{consumer} never handled {row['type']} at {row['position']}"
            for row in outbox
            if row["type"] in types and row["event_id"] not in handled
        ]
    return wrong
