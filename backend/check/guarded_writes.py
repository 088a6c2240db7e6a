"""Invariant I4: guarded writes.

A stale write leaves traces: the states of a ticket and its order contradict each other, a version
was published twice or not at all, or the steps of an audit trail do not join. Versions are compared
as far back as the outbox reaches.
"""

from backend.check.result import MAX_EVENTS, Result
from backend.check.snapshot import Snapshot

DESCRIPTION = (
    "tickets match the state of their order, each version is published once and in order, and"
    " audited transitions join"
)

COUNT_SQL = f"""
    select (select count(*) from tickets.tickets where order_id is not null)
         + least((select count(*) from events.outbox), {MAX_EVENTS})
"""

# The newest part of the log, read by the index on positions; rows without a position come last.
LOG = f"""
    log as materialized (
        select o.position, o.subject, o.type, o.version from events.outbox o
        where o.position is null or o.position > (select r.position - {MAX_EVENTS}
            from events.relay r)
    )
"""

VIOLATIONS_SQL = f"""
    with {LOG}, newest as (
        select distinct on (subject) subject, version from log order by subject, version desc
    ), current as (
        select 'ticket' as noun, id, version from tickets.tickets
        union all select 'show', id, version from tickets.shows
        union all select 'order', id, version from orders.orders
        union all select 'payment', id, version from payments.payments
    )
    select format('ticket %s is %s for order %s, which is %s', t.id, t.status, o.id, o.status)
    from tickets.tickets t join orders.orders o on o.id = t.order_id
    where (t.status = 'held' and t.held_until > now()
        and o.status not in ('pending', 'awaiting_payment'))
       or (t.status = 'reserved' and o.status <> 'confirmed')
       or (t.status = 'sold' and o.status not in ('completed', 'refund_pending', 'refunded'))
    union all
    select format('%s %s: version %s was published (%s) after version %s', split_part(type, '.', 1),
        subject, version, type, before)
    from (
        select subject, type, version,
               lag(version) over (partition by subject
                   order by position nulls last, version) as before
        from log
    ) published
    where version <> before + 1
    union all
    select format('%s %s is at version %s, but the newest published version is %s', c.noun, c.id,
        c.version, n.version)
    from newest n join current c on c.id = n.subject
    where c.version <> n.version
"""


async def check(snapshot: Snapshot, result: Result) -> None:
    await result.run(snapshot.connection, COUNT_SQL, VIOLATIONS_SQL)
    for noun in ("ticket", "order"):
        await result.run(snapshot.connection, _audited(noun), _unjoined(noun))


def _audited(noun: str) -> str:
    return f"select least(count(*), {MAX_EVENTS}) from {noun}s.audit"


def _unjoined(noun: str) -> str:
    trail = f"""
        select {noun}_id as id, version, from_status, to_status,
               lag(version) over w as before, lag(to_status) over w as left_as,
                   lead(version) over w is null as is_last
        from (select * from {noun}s.audit order by at desc limit {MAX_EVENTS}) newest
        window w as (partition by {noun}_id order by version)
    """
    return f"""
        with trail as ({trail})
        select format(
            '{noun} %s: its audit leaves it %s at version %s and goes on from %s at version %s',
            id, left_as, before, from_status, version
        )
        from trail where left_as <> from_status
        union all
        select format(
            '{noun} %s is %s at version %s, but its audit ends with %s at %s', r.id, r.status,
                r.version, a.to_status, a.version
        )
        from trail a join {noun}s.{noun}s r on r.id = a.id
        where a.is_last and (a.version > r.version or a.to_status <> r.status)
    """
