"""Invariant I9: durability.

A confirmed commit survives a crash only if the settings of the server, the database, every role and
function, and Redis keep it. A reply stored for an idempotency key must still be true. No ticket,
show, order or payment is ever deleted, so each one that an order line, an audit or an event names
must have its row.
"""

from backend.check.result import MAX_EVENTS, Result, Unchecked
from backend.check.snapshot import Snapshot

DESCRIPTION = (
    "the settings of Postgres and Redis keep what they confirm, no row was deleted, and each reply"
    " stored for an idempotency key is still true"
)

# When one of these is off, a commit is confirmed before it is on disk, or a crash may leave a torn
# page.
LASTING = ("fsync", "synchronous_commit", "full_page_writes")

COUNT_SQL = """
    select 3 + (select count(*) from orders.idempotency_keys) + (select count(*)
        from tickets.idempotency_keys)
         + (select count(*) from payments.payments where reply_status = 201)
"""

VIOLATIONS_SQL = """
    select format('Postgres runs with %s = off', name) from pg_settings where name = any ($1)
        and setting = 'off'
    union all
    select format(
        '%s has %s set', concat_ws(' in ', coalesce('role ' || r.rolname, 'every role'),
            'database ' || d.datname), entry
    )
    from pg_db_role_setting s
    left join pg_roles r on r.oid = s.setrole left join pg_database d on d.oid = s.setdatabase,
         unnest(s.setconfig) entry
    where (s.setdatabase = 0 or d.datname = current_database())
      and (s.setrole = 0 or r.rolname like 'gittix\\_%')
      and split_part(entry, '=', 1) = any ($1)
          and split_part(entry, '=', 2) in ('off', 'false', 'no', '0')
    union all
    select format('function %s has %s set', p.oid::regprocedure, entry)
    from pg_proc p, unnest(p.proconfig) entry
    where p.pronamespace::regnamespace::text = any (array['auth', 'tickets', 'orders', 'payments',
        'push', 'events'])
      and split_part(entry, '=', 1) = any ($1)
          and split_part(entry, '=', 2) in ('off', 'false', 'no', '0')
    union all
    select format('table %s is not logged: a crash empties it', c.oid::regclass)
    from pg_class c
    where c.relkind = 'r' and c.relpersistence = 'u'
      and c.relnamespace::regnamespace::text = any (array['auth', 'tickets', 'orders', 'payments',
          'push', 'events'])
    union all
    select format('user %s got a reply with order %s, which does not exist', kept.user_id,
        kept.body ->> 'id')
    from (
        select k.user_id, convert_from(k.body, 'UTF8')::jsonb as body from orders.idempotency_keys k
        where k.status = 201 and pg_input_is_valid(convert_from(k.body, 'UTF8'), 'jsonb')
    ) kept
    where kept.body ?& array['id', 'buyer_id', 'tickets']
      and not exists (select from orders.orders o where o.id = (kept.body ->> 'id')::uuid)
    union all
    select format('user %s got a reply with ticket or show %s, which does not exist', kept.user_id,
        kept.body ->> 'id')
    from (
        select k.user_id, convert_from(k.body, 'UTF8')::jsonb as body
            from tickets.idempotency_keys k
        where k.status = 201 and pg_input_is_valid(convert_from(k.body, 'UTF8'), 'jsonb')
    ) kept
    where kept.body ? 'id'
      and not exists (select from tickets.tickets t where t.id = (kept.body ->> 'id')::uuid)
      and not exists (select from tickets.shows s where s.id = (kept.body ->> 'id')::uuid)
    union all
    select format('buyer %s got a reply with captured payment %s, but it is %s', p.buyer_id, p.id,
        p.status)
    from payments.payments p
    where p.reply_status = 201 and pg_input_is_valid(convert_from(p.reply_body, 'UTF8'), 'jsonb')
      and convert_from(p.reply_body, 'UTF8')::jsonb ->> 'status' = 'captured'
      and p.status not in ('captured', 'refunded')
"""

# An event describes the subject that its data has as `id`.
NAMED_SQL = f"""
    select (select count(*) from orders.lines) + (select count(*) from tickets.audit)
         + (select count(*) from orders.audit)
         + least((select count(*) from events.outbox), {MAX_EVENTS})
"""
DELETED_SQL = f"""
    with log as materialized (
        select split_part(o.type, '.', 1) as noun, o.subject, o.type, o.data from events.outbox o
        where o.position is null or o.position > (select r.position - {MAX_EVENTS}
            from events.relay r)
    ), named (noun, id, source) as (
        select 'ticket', l.ticket_id, 'a line of order ' || l.order_id from orders.lines l
        union all
        select 'ticket', a.ticket_id, 'its audit' from tickets.audit a
        union all
        select 'order', a.order_id, 'its audit' from orders.audit a
        union all
        select l.noun, l.subject, 'its event ' || l.type
        from log l where l.data ->> 'id' = l.subject::text
    ), existing (noun, id) as (
        select 'ticket', id from tickets.tickets
        union all select 'show', id from tickets.shows
        union all select 'order', id from orders.orders
        union all select 'payment', id from payments.payments
    )
    select format('%s %s was deleted: it has no row, but %s names it', n.noun, n.id, min(n.source))
    from named n left join existing e using (noun, id)
    where e.id is null and n.noun in ('ticket', 'show', 'order', 'payment')
      and not exists (
          select from events.owner_audit a
          where a.before ->> 'id' = n.id::text and a.after is null and a.accepted_by is not null
      )
    group by n.noun, n.id
    union all
    select format('role %s deleted from %s at %s: %s', a.role, a.relation, a.at, a.before)
    from events.owner_audit a where a.after is null and a.accepted_by is null
"""


async def check(snapshot: Snapshot, result: Result) -> None:
    await result.run(snapshot.connection, COUNT_SQL, VIOLATIONS_SQL, LASTING)
    await result.run(snapshot.connection, NAMED_SQL, DELETED_SQL)
    if isinstance(snapshot.redis, Unchecked):
        result.unchecked.append(snapshot.redis)
        return
    if snapshot.redis.last_write != "ok":
        result.violations.append(f"Redis's last write to disk ended as {snapshot.redis.last_write}")
    if isinstance(snapshot.redis.configuration, Unchecked):
        result.unchecked.append(snapshot.redis.configuration)
        return
    result.examined += 3
    configuration = snapshot.redis.configuration
    result.violations += [
        f"Redis runs with {name} = {configuration[name]}"
        for name, lasting in REDIS_LASTING.items()
        if configuration[name] not in lasting
    ]


REDIS_LASTING = {
    "appendonly": {"yes"},
    "appendfsync": {"everysec", "always"},
    "maxmemory-policy": {"noeviction"},
}
