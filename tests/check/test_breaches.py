"""The checker checked: each invariant is broken in every way that it claims to see, and that one fires, and no other."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple
from uuid import uuid4

import msgspec
import pytest

from backend.check.units import skewed
from backend.events.stream import STREAM, EventStream, Position
from backend.push import log as push
from tests.check.market import Market, acknowledge_early
from tests.events.log import record
from workers import expiration

Plant = Callable[[Market], Awaitable[None]]


class Breach(NamedTuple):
    """`says` is in the sentence of one offender. `undo` is for what a clone does not take with it when it is dropped."""

    invariant: str
    name: str
    plant: Plant
    says: str
    undo: str = ""


def sql(*statements: str) -> Plant:
    async def plant(market: Market) -> None:
        for statement in statements:
            await market.rows.execute(statement)

    return plant


def change(noun: str, changes: str, where: str, *, event: str) -> Plant:
    """A transition that was told as it should be, and yet should not have happened."""

    async def plant(market: Market) -> None:
        await market.change(noun, changes, where, event=event)

    return plant


def together(*plants: Plant) -> Plant:
    async def plant(market: Market) -> None:
        for one in plants:
            await one(market)

    return plant


def of_order(status: str) -> str:
    return f"(select id from orders.orders where status = '{status}' order by id limit 1)"


# No triggers, no foreign keys: as somebody may who restores by hand.
UNGUARDED = "set session_replication_role = replica"
NO_INDEX = "drop index orders.lines_one_live_per_ticket"
FREE_TICKET = "id = (select id from tickets.tickets where status = 'available' order by id limit 1)"


# I2, in the ledger


async def captured_twice(market: Market) -> None:
    await market.intent(await market.order("completed"))


async def captured_for_an_expired_order(market: Market) -> None:
    await market.intent(await market.order("expired"))


async def captured_for_nobody(market: Market) -> None:
    await market.intent(uuid4())


async def held_for_a_cancelled_order(market: Market) -> None:
    await market.intent(await market.order("cancelled"), capture=False)


async def refunded_behind_our_back(market: Market) -> None:
    intent = await market.intent_of(await market.order("completed"))
    (await market.stripe.post("/v1/refunds", data={"payment_intent": intent})).raise_for_status()


async def partly_refunded(market: Market) -> None:
    intent = await market.intent_of(await market.order("completed"))
    body = {"payment_intent": intent, "amount": "100"}
    (await market.stripe.post("/v1/refunds", data=body)).raise_for_status()


async def captured_on_another_intent(market: Market) -> None:
    await refunded_behind_our_back(market)
    await captured_twice(market)


# I5 and I6, on the stream


async def drop_an_entry(market: Market) -> None:
    entries = await market.redis.xrange(STREAM)
    await market.redis.xdel(STREAM, entries[len(entries) // 2][0])


async def lose_the_stream(market: Market) -> None:
    await market.redis.delete(STREAM)


async def lose_the_tail(market: Market) -> None:
    """The stream's own last id goes back with it, as after a cut of Redis's append-only file."""
    entries = await market.redis.xrange(STREAM)
    await market.redis.xdel(STREAM, *(entry_id for entry_id, _ in entries[-3:]))
    await market.redis.execute_command("XSETID", STREAM, entries[-4][0])  # type: ignore[no-untyped-call]


async def append_what_never_committed(market: Market) -> None:
    stream = EventStream(market.redis)
    last = await stream.last()
    body = (
        b'{"id":"%s","type":"user.registered","occurred_at":"2999-01-01T00:00:00Z"}' % str(uuid4()).encode()
    )
    await stream.append(last, [(Position(last.epoch, last.position + 1), body)])


async def append_nonsense(market: Market) -> None:
    stream = EventStream(market.redis)
    last = await stream.last()
    await stream.append(last, [(Position(last.epoch, last.position + 1), b"[")])


async def trim_what_is_pending(market: Market) -> None:
    first, second = (await market.redis.xrange(STREAM, count=2))[:2]
    last = await EventStream(market.redis).last()
    await market.redis.xgroup_setid(STREAM, expiration.CONSUMER, "0")
    await market.redis.xreadgroup(expiration.CONSUMER, "dead", {STREAM: ">"}, count=1)
    await market.redis.xgroup_setid(STREAM, expiration.CONSUMER, str(last))
    await market.redis.xtrim(STREAM, minid=second[0], approximate=False)
    assert first[0] != second[0]


async def acknowledged_early(market: Market) -> None:
    await acknowledge_early(market)


async def tell_two_events_under_one_id(market: Market) -> None:
    await record(market.rows, 1, 2, type="user.registered")
    await market.rows.execute(
        "update events.outbox set event_id = (select event_id from events.outbox where position is null limit 1)"
        " where position is null"
    )


# I7 and I8, in the push log


async def tell(market: Market, channel: str, event: str, **body: object) -> None:
    """A message as the publisher's script appends it."""
    data = msgspec.json.encode({"_epoch": 1, "_seq": 1} | body)
    await market.redis.xadd(push.STREAM, {"c": channel, "e": event, "d": data})


async def newest(market: Market, channel: str) -> Mapping[str, object]:
    """The data of the newest message on the first channel of this kind, without its stamps."""
    from backend.check import push as reading

    log = await reading.read(market.redis)
    body = next(m.body for m in reading.messages(log) if m.channel.startswith(channel))
    return {name: value for name, value in body.items() if not name.startswith("_")}


async def tell_of_the_future(market: Market) -> None:
    ticket = dict((await newest(market, "show-"))["ticket"])  # type: ignore[call-overload]
    ticket["version"] += 5
    await tell(market, f"show-{ticket['show_id']}", "ticket.updated", ticket=ticket)


async def tell_another_status(market: Market) -> None:
    ticket = dict((await newest(market, "show-"))["ticket"])  # type: ignore[call-overload]
    ticket["status"] = "held" if ticket["status"] != "held" else "sold"
    await tell(market, f"show-{ticket['show_id']}", "ticket.updated", ticket=ticket)


async def count_wrongly(market: Market) -> None:
    show = dict((await newest(market, "shows"))["show"])  # type: ignore[call-overload]
    await tell(market, "shows", "show.availability", show=show | {"sold": show["sold"] + 1})


async def change_untold(market: Market) -> None:
    await market.change(
        "ticket",
        "price = price + 1, updated_at = now() - interval '30 seconds'",
        "status = 'available'",
        event="ticket.updated",
    )


async def forget_a_message(market: Market) -> None:
    ticket_id = await market.rows.fetchval(
        f"update tickets.tickets set updated_at = now() - interval '30 seconds' where {FREE_TICKET} returning id"
    )
    for entry_id, fields in await market.redis.xrange(push.STREAM):
        if fields.get(b"k") == str(ticket_id).encode():
            await market.redis.xdel(push.STREAM, entry_id)


async def empty_the_push_log(market: Market) -> None:
    await market.redis.delete(push.STREAM)


async def tell_a_stranger_of_an_order(market: Market) -> None:
    order = dict((await newest(market, "private-user-"))["order"])  # type: ignore[call-overload]
    await tell(market, f"private-user-{uuid4()}", "order.updated", order=order)


async def tell_everybody_whose_ticket_it_is(market: Market) -> None:
    ticket = dict((await newest(market, "show-"))["ticket"])  # type: ignore[call-overload]
    ticket["order_id"] = str(uuid4())
    await tell(market, f"show-{ticket['show_id']}", "ticket.updated", ticket=ticket)


# I9


def redis_setting(name: str, value: str) -> Plant:
    async def plant(market: Market) -> None:
        await market.redis.config_set(name, value)

    return plant


async def database_setting(market: Market) -> None:
    name = await market.rows.fetchval("select current_database()")
    await market.rows.execute(f"alter database {name} set synchronous_commit = off")


async def role_setting(market: Market) -> None:
    name = await market.rows.fetchval("select current_database()")
    await market.rows.execute(f"alter role gittix_orders in database {name} set synchronous_commit = off")


BREACHES = [
    Breach("I1", "the unique index is gone", sql(NO_INDEX), "no valid unique index"),
    Breach(
        "I1",
        "the unique index is not valid",
        sql(
            "update pg_index set indisvalid = false where indexrelid = 'orders.lines_one_live_per_ticket'::regclass"
        ),
        "no valid unique index",
    ),
    Breach(
        "I1",
        "a ticket is on two live lines",
        sql(
            NO_INDEX,
            "update orders.lines set ticket_id = (select ticket_id from orders.lines where "
            f"order_id = {of_order('awaiting_payment')}) where order_id = {of_order('pending')}",
        ),
        "is on 2 live lines",
    ),
    Breach(
        "I1",
        "a ticket is held for another order than its line's",
        change(
            "ticket",
            f"order_id = {of_order('awaiting_payment')}, updated_at = clock_timestamp()",
            f"order_id = {of_order('pending')}",
            event="ticket.held",
        ),
        "which has no live line with it",
    ),
    Breach(
        "I1",
        "a sold ticket is free again",
        change(
            "ticket",
            "status = 'available', order_id = null, updated_at = clock_timestamp()",
            "status = 'sold'",
            event="ticket.released",
        ),
        "but the ticket is available",
    ),
    Breach(
        "I1",
        "a line of an expired order is live",
        sql(
            "update orders.lines set live = true where order_id = (select o.id from orders.orders o join orders.lines l "
            "on l.order_id = o.id join tickets.tickets t on t.id = l.ticket_id "
            "where o.status = 'expired' and t.status = 'available' limit 1)"
        ),
        "is expired, but its line",
    ),
    Breach(
        "I2",
        "a payment of a cancelled order is captured",
        change(
            "payment",
            "status = 'captured', updated_at = now()",
            f"order_id = {of_order('cancelled')}",
            event="payment.failed",
        ),
        "is captured, but order",
    ),
    Breach(
        "I2",
        "the payment of a completed order is not captured",
        change(
            "payment",
            "status = 'voided', updated_at = now()",
            f"order_id = {of_order('completed')}",
            event="payment.voided",
        ),
        "is completed by 0 captured payments",
    ),
    Breach(
        "I2",
        "two payments of an order are captured",
        sql(
            "drop index payments.payments_one_captured",
            "insert into payments.payments (id, order_id, buyer_id, attempt, status, amount, currency, payment_method,"
            " intent_id, deadline_at) select gen_random_uuid(), order_id, buyer_id, 9, status, amount, currency,"
            f" payment_method, intent_id, deadline_at from payments.payments where order_id = {of_order('completed')}",
        ),
        "is completed by 2 captured payments",
    ),
    Breach(
        "I2",
        "another amount was captured",
        sql(
            f"update payments.payments set amount = amount - 1 where order_id = {of_order('completed')} and status = 'captured'"
        ),
        "captured 4724 EUR, but order",
    ),
    Breach(
        "I2",
        "a payment stays authorised",
        sql(
            f"update payments.payments set status = 'authorised' where order_id = {of_order('awaiting_payment')}"
        ),
        "is authorised since",
    ),
    Breach(
        "I2",
        "a payment is for an order that is not there",
        sql(
            "insert into payments.payments (id, order_id, buyer_id, attempt, status, amount, currency, payment_method,"
            " deadline_at) values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1, 'failed', 1, 'EUR', '', now())"
        ),
        "which is not there",
    ),
    Breach("I2", "the ledger has an order captured twice", captured_twice, "has 2 captured intents"),
    Breach("I2", "the ledger has money of an expired order", captured_for_an_expired_order, "kept 4725 EUR"),
    Breach("I2", "the ledger has money of no order", captured_for_nobody, "which is not there"),
    Breach(
        "I2", "the ledger holds money of a cancelled order", held_for_a_cancelled_order, "still holds 4725"
    ),
    Breach("I2", "a completed order was refunded", refunded_behind_our_back, "has 0 captured intents"),
    Breach("I2", "a completed order was refunded in part", partly_refunded, "4625 EUR (100 given back)"),
    Breach("I2", "another intent was captured", captured_on_another_intent, "our captured payment has"),
    Breach(
        "I3",
        "a hold never ended",
        sql(
            f"update tickets.tickets set held_until = now() - interval '1 minute' where order_id = {of_order('pending')}",
            f"update orders.orders set expires_at = now() - interval '1 minute' where id = {of_order('pending')}",
        ),
        "is still held for order",
    ),
    Breach(
        "I3",
        "an unpaid order stays",
        sql(
            f"update orders.orders set expires_at = now() - interval '1 minute' where id = {of_order('pending')}"
        ),
        "is still pending",
    ),
    Breach(
        "I3",
        "a hold outlives its order",
        sql(
            f"update tickets.tickets set held_until = held_until + interval '9 hours' where order_id = {of_order('pending')}"
        ),
        "but its order",
    ),
    Breach(
        "I3",
        "a reservation never ends",
        together(
            empty_the_push_log,
            change("order", "status = 'confirmed'", "status = 'awaiting_payment'", event="order.confirmed"),
            change(
                "ticket",
                "status = 'reserved', held_until = null, updated_at = now() - interval '20 minutes'",
                f"order_id = {of_order('confirmed')}",
                event="ticket.reserved",
            ),
        ),
        "is reserved for order",
    ),
    Breach(
        "I3",
        "readers go by the status alone",
        sql(
            "create or replace function tickets.effective_status(p_status text, p_held_until timestamptz, p_now timestamptz)"
            " returns text language sql immutable parallel safe return p_status"
        ),
        "a hold that ended a moment ago reads as held",
    ),
    Breach(
        "I4",
        "a ticket is reserved for an order that is not paid",
        change(
            "ticket",
            "status = 'reserved', held_until = null, updated_at = clock_timestamp()",
            f"order_id = {of_order('awaiting_payment')}",
            event="ticket.reserved",
        ),
        "which is awaiting_payment",
    ),
    Breach(
        "I4",
        "a version is told twice",
        sql(
            "insert into events.outbox (type, subject, version, data)"
            f" select 'ticket.updated', id, version, tickets.state(t) from tickets.tickets t where {FREE_TICKET}"
        ),
        "was told (ticket.updated) after version",
    ),
    Breach(
        "I4",
        "a version is never told",
        sql(f"update tickets.tickets set version = version + 1, updated_at = now() where {FREE_TICKET}"),
        "but the newest that was told is",
    ),
    Breach(
        "I4",
        "a version is left out",
        together(
            sql(f"update tickets.tickets set version = version + 1 where {FREE_TICKET}"),
            change("ticket", "updated_at = now()", FREE_TICKET, event="ticket.updated"),
        ),
        "was told (ticket.updated) after version",
    ),
    Breach(
        "I4",
        "an audit does not join",
        sql(
            UNGUARDED,
            "update tickets.audit set to_status = 'withdrawn' where (ticket_id, version) = (select ticket_id, version"
            " from tickets.audit a where exists (select from tickets.audit b where b.ticket_id = a.ticket_id"
            " and b.version > a.version) order by 1, 2 limit 1)",
        ),
        "its audit leaves it withdrawn",
    ),
    Breach(
        "I4",
        "an audit ends elsewhere than its ticket",
        sql(
            UNGUARDED,
            "update tickets.audit a set to_status = 'withdrawn' from tickets.tickets t"
            " where t.id = a.ticket_id and t.version = a.version and t.status = 'sold'",
        ),
        "but its audit ends with withdrawn",
    ),
    Breach(
        "I5",
        "a row of the outbox is lost",
        sql("delete from events.outbox where type = 'user.registered'"),
        "which is not in the outbox",
    ),
    Breach(
        "I5",
        "a position was skipped",
        sql("update events.relay set position = position + 1"),
        "though",
    ),
    Breach(
        "I5",
        "an event waits",
        sql(
            "insert into events.outbox (type, subject, version, data, occurred_at)"
            " values ('user.registered', gen_random_uuid(), 1, '{}', now() - interval '1 minute')",
        ),
        "waits in the outbox",
    ),
    Breach(
        "I5",
        "another event has its place",
        sql("update events.outbox set event_id = gen_random_uuid() where type = 'user.registered'"),
        "but the outbox has",
    ),
    Breach("I5", "an entry of the stream is lost", drop_an_entry, "is gone from the stream"),
    Breach("I5", "the stream is lost", lose_the_stream, "the stream is empty"),
    Breach("I5", "the tail of the stream is lost", lose_the_tail, "is not on the stream 5 seconds after"),
    Breach(
        "I5", "the stream tells what never committed", append_what_never_committed, "is not in the outbox"
    ),
    Breach("I5", "the stream has what is no event", append_nonsense, "is no event"),
    Breach(
        "I5", "a pending entry was trimmed", trim_what_is_pending, "was trimmed while consumer expiration"
    ),
    Breach(
        "I6",
        "an inbox row is skipped",
        sql("delete from orders.inbox where event_id = (select event_id from orders.inbox limit 1)"),
        "which is not in its inbox",
    ),
    Breach("I6", "an event is acknowledged early", acknowledged_early, "which is not in its inbox"),
    Breach(
        "I6",
        "an order is completed twice",
        change("order", "updated_at = now()", "status = 'completed'", event="order.completed"),
        "has 2 events order.completed",
    ),
    Breach("I6", "two events have one id", tell_two_events_under_one_id, "have the id"),
    Breach("I7", "a ticket changed and nobody was told", change_untold, "clients were told of version"),
    Breach("I7", "a message is lost", forget_a_message, "nobody was told that ticket"),
    Breach("I7", "clients know a later version", tell_of_the_future, "clients were told of version"),
    Breach("I7", "clients see another status", tell_another_status, "clients were told that version"),
    Breach("I7", "clients see other counts", count_wrongly, "clients were told that show"),
    Breach(
        "I7",
        "the notifier stands still",
        sql("update push.notifier set position = 0"),
        "the notifier has told up to",
    ),
    Breach(
        "I8",
        "a role reads another's rows",
        sql("grant select on tickets.tickets to gittix_payments"),
        "role gittix_payments may SELECT tickets.tickets",
    ),
    Breach(
        "I8",
        "a role writes a column too many",
        sql("grant update (data) on events.outbox to gittix_relay"),
        "may UPDATE column data",
    ),
    Breach(
        "I8",
        "a noun calls its own deciding function",
        sql("grant execute on function tickets.release_due to gittix_tickets"),
        "role gittix_tickets may call tickets.release_due",
    ),
    Breach(
        "I8",
        "everybody may call a function",
        sql("grant execute on function orders.finish to public"),
        "is everybody's to call",
    ),
    Breach(
        "I8",
        "a role makes things in a schema",
        sql("grant create on schema orders to gittix_orders"),
        "role gittix_orders may create schema orders",
    ),
    Breach(
        "I8",
        "a role is more than a login",
        sql("alter role gittix_push createdb"),
        "role gittix_push is more than a login",
        undo="alter role gittix_push nocreatedb",
    ),
    Breach(
        "I8",
        "an owner's function takes its caller's search path",
        sql("alter function tickets.release_due reset search_path"),
        "with the search path of its caller",
    ),
    Breach(
        "I8",
        "a seller bought its own ticket",
        sql(
            "update orders.orders o set buyer_id = l.seller_id from orders.lines l"
            f" where l.order_id = o.id and o.id = {of_order('pending')}",
            f"update orders.lines set buyer_id = seller_id where order_id = {of_order('pending')}",
        ),
        "sells ticket",
    ),
    Breach(
        "I8",
        "a line counts for another buyer",
        sql(f"update orders.lines set buyer_id = gen_random_uuid() where order_id = {of_order('pending')}"),
        "has a line of",
    ),
    Breach(
        "I8",
        "a noun rewrites its audit",
        sql("grant update on tickets.audit to gittix_tickets"),
        "role gittix_tickets may UPDATE tickets.audit",
    ),
    Breach(
        "I8",
        "a stranger paid",
        sql("update payments.payments set buyer_id = gen_random_uuid() where status = 'failed'"),
        "for order",
    ),
    Breach("I8", "a stranger hears of an order", tell_a_stranger_of_an_order, "went to private-user-"),
    Breach("I8", "everybody hears whose ticket it is", tell_everybody_whose_ticket_it_is, "tells everybody"),
    Breach("I9", "commits of the database don't wait", database_setting, "synchronous_commit"),
    Breach("I9", "commits of a role don't wait", role_setting, "role gittix_orders in database"),
    Breach(
        "I9",
        "commits of a function don't wait",
        sql("alter function orders.finish set synchronous_commit = off"),
        "has synchronous_commit=off set",
    ),
    Breach("I9", "a table is not logged", sql("alter table orders.inbox set unlogged"), "is not logged"),
    Breach(
        "I9",
        "a kept reply is of no order",
        sql(
            "insert into orders.idempotency_keys (user_id, key, fingerprint, status, headers, body) values"
            " (gen_random_uuid(), 'k', '', 201, '{}', convert_to(json_build_object('id', gen_random_uuid(),"
            " 'buyer_id', gen_random_uuid(), 'tickets', '[]'::json)::text, 'UTF8'))"
        ),
        "was told of order",
    ),
    Breach(
        "I9",
        "Redis keeps nothing",
        redis_setting("appendonly", "no"),
        "appendonly = no",
        undo="appendonly yes",
    ),
    Breach(
        "I9",
        "Redis forgets under pressure",
        redis_setting("maxmemory-policy", "allkeys-lru"),
        "maxmemory-policy = allkeys-lru",
        undo="maxmemory-policy noeviction",
    ),
    Breach(
        "I10",
        "a subtotal is off",
        sql(
            f"update orders.orders set subtotal = subtotal + 1, total = total + 1 where id = {of_order('pending')}"
        ),
        "but lines of 4500",
    ),
    Breach(
        "I10",
        "a fee is as much as the price",
        sql(
            f"update orders.orders set fee = subtotal, total = 2 * subtotal where id = {of_order('pending')}"
        ),
        "is 4500 + 4500 = 9000 EUR",
    ),
    Breach(
        "I10",
        "a currency can't be charged",
        sql(f"update tickets.tickets set currency = 'XXX' where {FREE_TICKET}"),
        "costs 4500 XXX",
    ),
    Breach(
        "I10",
        "a ticket has another currency than its order",
        sql(f"update tickets.tickets set currency = 'USD' where order_id = {of_order('pending')}"),
        "4500 USD",
    ),
    Breach(
        "I10",
        "a change is in the future",
        sql("update tickets.shows set updated_at = now() + interval '1 hour'"),
        "is in the future",
    ),
    Breach(
        "I10",
        "a time has no zone",
        sql("alter table tickets.shows add column doors_at timestamp"),
        "column tickets.shows.doors_at is timestamp without time zone",
    ),
    Breach(
        "I10",
        "an amount is a float",
        sql("alter table payments.payments add column tip double precision"),
        "column payments.payments.tip is double precision",
    ),
]


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: f"{breach.invariant} {breach.name}")
async def test_a_breach_fires_its_invariant_and_no_other(breach: Breach, market: Market) -> None:
    try:
        await breach.plant(market)
        broken = await market.broken()
    finally:
        await _undo(market, breach.undo)
    assert broken.keys() == {breach.invariant}, broken
    assert any(breach.says in offender for offender in broken[breach.invariant]), broken


def test_every_invariant_is_broken_in_more_than_one_way() -> None:
    ways = [breach.invariant for breach in BREACHES]
    assert {f"I{number}" for number in range(1, 11)} == set(ways)
    assert min(ways.count(invariant) for invariant in ways) > 1


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (0.0, []),
        (1.9, []),
        (3.2, ["Redis's clock is 3 seconds ahead of Postgres's"]),
        (-9, ["Redis's clock is 9 seconds behind Postgres's"]),
    ],
)
def test_clocks_that_part_are_told(ahead: float, said: list[str]) -> None:
    assert skewed(ahead) == said


async def _undo(market: Market, undo: str) -> None:
    if undo.startswith("alter"):
        await market.rows.execute(undo)
    elif undo:
        await market.redis.config_set(*undo.split())
