"""`gittix check`: the invariants of the house as queries, a row each, with the first offenders."""

from typing import NamedTuple

from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from backend.events.stream import EventStream, Position
from backend.kernel import database
from backend.kernel.database import Connection
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings

SHOWN = 5
# Money and events are on their way this long; older is stuck.
QUIET_SECONDS = 60
LATE_SECONDS = 5


class Finding(NamedTuple):
    invariant: str
    says: str
    examined: int
    offenders: list[str]


class Query(NamedTuple):
    """`counts` is how many rows it is about; `finds` returns a text for each that breaks it."""

    invariant: str
    says: str
    counts: str
    finds: str


QUERIES = (
    Query(
        "I1",
        "a ticket is on at most one live order line, and the line's order has it",
        "select count(*) from orders.lines where live",
        """
        select 'ticket ' || l.ticket_id || ' is on ' || count(*) || ' live lines'
        from orders.lines l where l.live group by l.ticket_id having count(*) > 1
        union all
        select 'ticket ' || t.id || ' is ' || t.status || ' for order ' || t.order_id || ', which is ' || o.status
        from tickets.tickets t join orders.orders o on o.id = t.order_id
        where (t.status = 'sold' and o.status not in ('completed', 'refund_pending'))
           or (t.status = 'reserved' and o.status <> 'confirmed')
           or (t.status = 'held' and t.held_until > now() and o.status not in ('pending', 'awaiting_payment'))
        union all
        select 'order ' || o.id || ' is ' || o.status || ' but ticket ' || l.ticket_id || ' is ' || t.status
        from orders.orders o join orders.lines l on l.order_id = o.id join tickets.tickets t on t.id = l.ticket_id
        where o.status = 'completed' and l.live and (t.status <> 'sold' or t.order_id <> o.id)
        """,
    ),
    Query(
        "I2",
        "money captured if and only if its order completed, same amount and currency, once",
        "select count(*) from payments.payments",
        f"""
        select 'payment ' || p.id || ' is captured but order ' || o.id || ' is ' || o.status
        from payments.payments p join orders.orders o on o.id = p.order_id
        where p.status = 'captured' and (
            o.status not in ('completed', 'refund_pending') or o.total <> p.amount or o.currency <> p.currency
            or o.payment_id <> p.id
        )
        union all
        select 'order ' || o.id || ' is completed by ' || count(p.id) || ' captured payments'
        from orders.orders o left join payments.payments p on p.order_id = o.id and p.status = 'captured'
        where o.status = 'completed' group by o.id having count(p.id) <> 1
        union all
        select 'payment ' || p.id || ' is ' || p.status || ' since ' || p.updated_at
        from payments.payments p
        where p.status in ('started', 'authorised') and p.updated_at < now() - interval '{QUIET_SECONDS} seconds'
        union all
        select 'payment ' || p.id || ' waits for an action on order ' || o.id || ', which is ' || o.status
        from payments.payments p join orders.orders o on o.id = p.order_id
        where p.status = 'requires_action' and o.status not in ('pending', 'awaiting_payment')
          and o.updated_at < now() - interval '{QUIET_SECONDS} seconds'
        """,
    ),
    Query(
        "I3",
        "every hold ends: none is past its time for long, and no order outlives its hold",
        "select count(*) from tickets.tickets where status in ('held', 'reserved')",
        f"""
        select 'ticket ' || t.id || ' is held since its time ran out at ' || t.held_until
        from tickets.tickets t
        where t.status = 'held' and t.held_until < now() - interval '{LATE_SECONDS} seconds'
        union all
        select 'order ' || o.id || ' is ' || o.status || ' since its time ran out at ' || o.expires_at
        from orders.orders o
        where o.status in ('pending', 'awaiting_payment') and o.expires_at < now() - interval '{LATE_SECONDS} seconds'
        union all
        select 'ticket ' || t.id || ' is reserved since ' || t.updated_at
        from tickets.tickets t
        where t.status = 'reserved' and t.updated_at < now() - interval '{QUIET_SECONDS} seconds'
        """,
    ),
    Query(
        "I10",
        "money is positive minor units with a known currency, and sums add up",
        "select count(*) from orders.orders",
        """
        select 'order ' || o.id || ' has subtotal ' || o.subtotal || ' but lines of ' || sum(l.price)
        from orders.orders o join orders.lines l on l.order_id = o.id
        group by o.id having sum(l.price) <> o.subtotal
        """,
    ),
)


async def report(settings: Settings) -> int:
    """Print a row for each invariant. Returns the exit status: 1 when one is broken."""
    findings = await examine(settings)
    table = Table("", "Invariant", "Examined", "Broken")
    for finding in findings:
        broken = len(finding.offenders)
        table.add_row(
            "[red]✗[/]" if broken else "[green]✓[/]",
            f"{finding.invariant}  {finding.says}",
            f"{finding.examined:,}",
            f"[red]{broken:,}[/]" if broken else "0",
        )
    console = Console()
    console.print(table)
    for finding in findings:
        for offender in finding.offenders[:SHOWN]:
            console.print(f"  {finding.invariant}: {offender}", highlight=False, soft_wrap=True)
        if len(finding.offenders) > SHOWN:
            console.print(f"  {finding.invariant}: … and {len(finding.offenders) - SHOWN} more")
    return 1 if any(finding.offenders for finding in findings) else 0


async def examine(settings: Settings) -> list[Finding]:
    connection = await database.connect(settings.database_url, name="gittix-check", statement_timeout="60s")
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            findings = [await _ask(connection, query) for query in QUERIES]
        findings.insert(-1, await _events_are_published(connection, settings))
    finally:
        await connection.close()
    return findings


async def _ask(connection: Connection, query: Query) -> Finding:
    offenders = [row[0] for row in await connection.fetch(query.finds, timeout=60)]
    return Finding(query.invariant, query.says, await connection.fetchval(query.counts), offenders)


async def _events_are_published(connection: Connection, settings: Settings) -> Finding:
    """I5: nothing waits in the outbox, positions are dense, and the stream has the newest."""
    offenders = [
        row[0]
        for row in await connection.fetch(
            f"""
            select 'event ' || event_id || ' (' || type || ') waits in the outbox since ' || occurred_at
            from events.outbox where position is null and occurred_at < now() - interval '{LATE_SECONDS} seconds'
            union all
            select 'position ' || position || ' follows ' || before
            from (select position, lag(position) over (order by position) as before from events.outbox) o
            where position <> before + 1
            """,
            timeout=60,
        )
    ]
    examined: int = await connection.fetchval("select count(*) from events.outbox")
    newest = await connection.fetchrow(
        f"""
        select r.epoch, r.epoch_start, o.position from events.relay r, events.outbox o
        where o.position is not null and o.occurred_at < now() - interval '{LATE_SECONDS} seconds'
        order by o.position desc limit 1
        """
    )
    if newest is not None:
        # What a restored database still has was published under an earlier epoch.
        restored = newest["position"] <= newest["epoch_start"]
        offenders += await _behind(settings, Position(0 if restored else newest["epoch"], newest["position"]))
    return Finding("I5", "what committed is published", examined, offenders)


async def _behind(settings: Settings, newest: Position) -> list[str]:
    if not settings.redis_url:
        return ["REDIS_URL is not set: the stream was not looked at"]
    redis = open_redis(settings.redis_url, name="gittix-check")
    try:
        last = await EventStream(redis).last()
    except (RedisError, OSError) as fault:
        return [f"Redis does not answer: {fault}"]
    finally:
        await redis.aclose()
    return [] if last >= newest else [f"the stream ends at {last}, the event log at {newest}"]
