"""Invariant I10: amounts and times.

Stored amounts are whole minor units of a currency that can be charged, and they add up. Stored
times have a time zone, and none is ahead of Postgres's clock. Redis's clock agrees with Postgres's.
"""

from backend.check.result import MARGIN, Result, Unchecked
from backend.check.snapshot import Snapshot
from backend.currencies import CURRENCIES, MAX_FEE_PERCENT

DESCRIPTION = (
    "amounts are positive, whole, of a known currency, and add up; no stored time is ahead of"
    " Postgres's clock, and Redis's clock agrees"
)

# Alarms and the age of the push log depend on Redis's clock; a smaller difference has no effect.
SKEW_SECONDS = 2.0

COUNT_SQL = """
    select (select count(*) from orders.orders) + (select count(*) from tickets.tickets)
         + (select count(*) from payments.payments)
"""

VIOLATIONS_SQL = f"""
    select format('order %s has a subtotal of %s, but lines of %s', o.id, o.subtotal,
        coalesce(sum(l.price), 0))
    from orders.orders o left join orders.lines l on l.order_id = o.id
    group by o.id having coalesce(sum(l.price), 0) <> o.subtotal
    union all
    select format('order %s has a fee of %s, but lines with %s', o.id, o.fee, sum(l.fee))
    from orders.orders o join orders.lines l on l.order_id = o.id
    group by o.id having sum(l.fee) <> o.fee
    union all
    select format('order %s is %s + %s = %s %s', o.id, o.subtotal, o.fee, o.total, o.currency)
    from orders.orders o left join tickets.currencies c on c.code = o.currency
    where o.total <> o.subtotal + o.fee or o.subtotal <= 0 or o.fee < 0
        or o.fee >= o.subtotal * {MAX_FEE_PERCENT} / 100.0 + c.step
       or not o.currency = any ($1)
    union all
    select format('ticket %s costs %s %s', id, price, currency)
    from tickets.tickets where price <= 0 or face_value <= 0 or not currency = any ($1)
    union all
    select format('line of order %s with ticket %s costs %s', order_id, ticket_id, price)
    from orders.lines where price <= 0
    union all
    select format('payment %s is of %s %s', id, amount, currency)
    from payments.payments where amount <= 0 or not currency = any ($1)
    union all
    select format('ticket %s is %s for %s %s, but order %s pays %s %s', t.id, t.status, t.price,
        t.currency, o.id, l.price, o.currency)
    from orders.lines l join orders.orders o on o.id = l.order_id
    join tickets.tickets t on t.id = l.ticket_id and t.order_id = o.id
    where l.live and (t.currency <> o.currency or t.price <> l.price)
    union all
    select format('%s.%s of %s %s is in the future: %s', kind, field, kind, id, at)
    from (
        select 'ticket' as kind, id::text, 'updated_at' as field,
            greatest(created_at, updated_at) as at from tickets.tickets
        union all select 'show', id::text, 'updated_at', greatest(created_at, updated_at)
            from tickets.shows
        union all select 'order', id::text, 'updated_at', greatest(created_at, updated_at)
            from orders.orders
        union all select 'payment', id::text, 'updated_at',
            greatest(created_at, updated_at, reconciled_at) from payments.payments
        union all select 'user', id::text, 'created_at', created_at from auth.users
        union all select 'webhook', id, 'received_at', greatest(received_at, handled_at)
            from payments.webhook_events
        union all
        select 'event', event_id::text, 'occurred_at', occurred_at from events.outbox
        where position is null or position > (select r.position - 1000 from events.relay r)
    ) stamped
    where at > clock_timestamp() + {MARGIN}
    union all
    select format('column %s.%s.%s is %s', table_schema, table_name, column_name, data_type)
    from information_schema.columns
    where table_schema in ('auth', 'tickets', 'orders', 'payments', 'push', 'events')
      and data_type in ('timestamp without time zone', 'time without time zone', 'real',
          'double precision', 'numeric', 'money')
      -- The wall time of a show's venue, beside the instant in starts_at.
      and (table_schema, table_name, column_name) <> ('tickets', 'shows', 'local_start')
"""


async def check(snapshot: Snapshot, result: Result) -> None:
    await result.run(snapshot.connection, COUNT_SQL, VIOLATIONS_SQL, sorted(CURRENCIES))
    if isinstance(snapshot.redis, Unchecked):
        result.unchecked.append(snapshot.redis)
    else:
        result.violations += skewed(snapshot.redis.ahead_seconds)


def skewed(ahead_seconds: float) -> list[str]:
    if abs(ahead_seconds) <= SKEW_SECONDS:
        return []
    side = "ahead of" if ahead_seconds > 0 else "behind"
    return [f"Redis's clock is {abs(ahead_seconds):.0f} seconds {side} Postgres's"]
