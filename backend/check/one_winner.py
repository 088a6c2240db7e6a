"""Invariant I1: one winner for each ticket.

An order line is live while its order has the ticket. A ticket and its live line refer to each other
after every transaction. Only the unique index excludes that two concurrent transactions give a
ticket two live lines, so its existence is checked.
"""

from backend.check.result import MARGIN, Result
from backend.check.snapshot import Snapshot

DESCRIPTION = (
    "a ticket is on at most one live line, the unique index exists, and tickets and live lines"
    " refer to each other"
)

COUNT_SQL = "select count(*) from orders.lines where live"

VIOLATIONS_SQL = f"""
    select format(
        'ticket %s is on %s live lines, of the orders %s',
        l.ticket_id, count(*), string_agg(l.order_id::text, ', ' order by l.order_id)
    )
    from orders.lines l where l.live group by l.ticket_id having count(*) > 1
    union all
    select format(
        'order %s (%s) has ticket %s on a live line, but the ticket is %s',
        o.id, o.status, l.ticket_id, t.status || coalesce(' for order ' || t.order_id, '')
    )
    from orders.lines l join orders.orders o on o.id = l.order_id
    join tickets.tickets t on t.id = l.ticket_id
    where l.live and t.order_id is distinct from l.order_id and (
        o.status in ('confirmed', 'completed', 'refund_pending')
        or (o.status in ('pending', 'awaiting_payment') and o.expires_at > now() + {MARGIN})
    )
    union all
    select format('ticket %s is %s for order %s, which has no live line with it', t.id, t.status,
        t.order_id)
    from tickets.tickets t
    where (t.status in ('reserved', 'sold') or (t.status = 'held' and t.held_until > now()))
      and not exists (select from orders.lines l where l.ticket_id = t.id
          and l.order_id = t.order_id and l.live)
      and not exists (
          select from orders.orders o where o.id = t.order_id
              and o.status in ('refund_pending', 'refunded')
      )
    union all
    select format('order %s is %s, but its line with ticket %s is live', o.id, o.status,
        l.ticket_id)
    from orders.lines l join orders.orders o on o.id = l.order_id
    where l.live and o.status in ('cancelled', 'expired')
    union all
    select 'no valid unique index on orders.lines (ticket_id) where live'
    where not exists (
        select from pg_index i
        where i.indrelid = 'orders.lines'::regclass and i.indisunique and i.indisvalid
            and i.indisready
          and i.indnatts = 1 and pg_get_indexdef(i.indexrelid, 1, true) = 'ticket_id'
          and pg_get_expr(i.indpred, i.indrelid) = 'live'
    )
"""


async def check(snapshot: Snapshot, result: Result) -> None:
    await result.run(snapshot.connection, COUNT_SQL, VIOLATIONS_SQL)
