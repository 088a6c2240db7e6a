"""I3. A hold ends by its row's time, so what can be seen is a row that nobody has put right since, a hold that outlives
its order's, money's own hold that never ended, and whether the functions that every reader goes by still go by the time.
"""

from backend.check.evidence import Evidence
from backend.check.finding import LATE, MARGIN, QUIET, Finding

SAYS = "no hold, reservation or unpaid order stands past its time, and one that does reads as available"

COUNTS = """
    select (select count(*) from tickets.tickets where status in ('held', 'reserved'))
         + (select count(*) from orders.orders where status in ('pending', 'awaiting_payment', 'confirmed'))
"""

FINDS = f"""
    select format('ticket %s is still held for order %s, whose time ran out at %s', t.id, t.order_id, t.held_until)
    from tickets.tickets t where t.status = 'held' and t.held_until < $1::timestamptz - {LATE}
    union all
    select format('order %s is still %s, though its time ran out at %s', o.id, o.status, o.expires_at)
    from orders.orders o where o.status in ('pending', 'awaiting_payment') and o.expires_at < $1::timestamptz - {LATE}
    union all
    select format('ticket %s is held until %s, but its order %s ends at %s', t.id, t.held_until, o.id, o.expires_at)
    from tickets.tickets t join orders.orders o on o.id = t.order_id
    where t.status = 'held' and o.status in ('pending', 'awaiting_payment') and t.held_until > o.expires_at + {MARGIN}
    union all
    select format('ticket %s is reserved for order %s since %s', t.id, t.order_id, t.updated_at)
    from tickets.tickets t where t.status = 'reserved' and t.updated_at < now() - {QUIET}
    union all
    select format('order %s is confirmed, not completed, since %s', o.id, o.updated_at)
    from orders.orders o where o.status = 'confirmed' and o.updated_at < now() - {QUIET}
    union all
    select format('a hold that ended a moment ago reads as %s', tickets.effective_status('held', now(), now()))
    where tickets.effective_status('held', now(), now()) <> 'available' or not tickets.is_free('held', now(), now())
    union all
    select format('a hold that ends in a second reads as %s', tickets.effective_status('held', now() + {MARGIN}, now()))
    where tickets.effective_status('held', now() + {MARGIN}, now()) <> 'held'
       or tickets.is_free('held', now() + {MARGIN}, now())
"""


async def examine(evidence: Evidence, finding: Finding) -> None:
    await finding.ask(evidence.rows, COUNTS, FINDS, evidence.began)
