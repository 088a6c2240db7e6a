"""Invariant I3: holds end on time.

A hold ends at the time in its row. Violations that can be seen: a row that was not released in
time, a hold that outlives its order, a hold that is longer than it began without an extension, a
reservation or a confirmed order that stays, and SQL functions that ignore the time of a hold.

A hold is extended by its first payment, and once by a buyer that needs more time. The lengths are
compared as far back as the outbox reaches.
"""

from backend.check.result import LATE, MARGIN, MAX_EVENTS, QUIET, Result
from backend.check.snapshot import Snapshot

DESCRIPTION = (
    "no hold, reservation or unpaid order outlives its time or is extended more often than it may"
    " be, and an expired hold reads as available"
)

COUNT_SQL = """
    select (select count(*) from tickets.tickets where status in ('held', 'reserved'))
         + (select count(*) from orders.orders
             where status in ('pending', 'awaiting_payment', 'confirmed'))
"""

VIOLATIONS_SQL = f"""
    with log as materialized (
        select o.type, o.subject, o.data from events.outbox o
        where o.type in ('order.created', 'ticket.extended')
          and (o.position is null or o.position > (select r.position - {MAX_EVENTS}
              from events.relay r))
    ), extended as (
        select subject as ticket_id, (data ->> 'order_id')::uuid as order_id, count(*) as times
        from log where type = 'ticket.extended' group by 1, 2
    ), unpaid as (
        select o.id, o.expires_at, o.extended_at, o.created_at,
               (log.data ->> 'expires_at')::timestamptz as began_with
        from log join orders.orders o on o.id = log.subject
        where log.type = 'order.created' and o.payment_id is null
    )
    select format('ticket %s was extended %s times for order %s', e.ticket_id, e.times, o.id)
    from extended e join orders.orders o on o.id = e.order_id
    where e.times > (o.payment_id is not null)::int + (o.extended_at is not null)::int
    union all
    select format('order %s ends at %s, but its hold began with the end %s', u.id, u.expires_at,
        u.began_with)
    from unpaid u
    where u.expires_at > u.began_with + {MARGIN} + case
        when u.extended_at is null then interval '0' else u.began_with - u.created_at
    end
    union all
    select format('ticket %s is still held for order %s, but the hold ended at %s', t.id,
        t.order_id, t.held_until)
    from tickets.tickets t where t.status = 'held' and t.held_until < $1::timestamptz - {LATE}
    union all
    select format('order %s is still %s, but it expired at %s', o.id, o.status, o.expires_at)
    from orders.orders o where o.status in ('pending', 'awaiting_payment')
        and o.expires_at < $1::timestamptz - {LATE}
    union all
    select format('ticket %s is held until %s, but its order %s ends at %s', t.id, t.held_until,
        o.id, o.expires_at)
    from tickets.tickets t join orders.orders o on o.id = t.order_id
    where t.status = 'held' and o.status in ('pending', 'awaiting_payment')
        and t.held_until > o.expires_at + {MARGIN}
    union all
    select format('ticket %s is reserved for order %s since %s', t.id, t.order_id, t.updated_at)
    from tickets.tickets t where t.status = 'reserved' and t.updated_at < now() - {QUIET}
    union all
    select format('order %s is confirmed, not completed, since %s', o.id, o.updated_at)
    from orders.orders o where o.status = 'confirmed' and o.updated_at < now() - {QUIET}
    union all
    select format('a hold that ended a moment ago reads as %s',
        tickets.effective_status('held', now(), now()))
    where tickets.effective_status('held', now(), now()) <> 'available'
        or not tickets.is_free('held', now(), now())
    union all
    select format('a hold that ends in a second reads as %s',
        tickets.effective_status('held', now() + {MARGIN}, now()))
    where tickets.effective_status('held', now() + {MARGIN}, now()) <> 'held'
       or tickets.is_free('held', now() + {MARGIN}, now())
"""


async def check(snapshot: Snapshot, result: Result) -> None:
    await result.run(snapshot.connection, COUNT_SQL, VIOLATIONS_SQL, snapshot.began)
