"""I9. A reply that was given rests on settings that make a commit last, in the server, the database, every role and
function, and in Redis; and a reply that was kept for a repeat must still be true.
"""

from backend.check.evidence import Evidence
from backend.check.finding import Finding, Unseen

SAYS = "Postgres and Redis are set to keep what they confirm, and each reply kept under an idempotency key is still true"

# Off means that a commit is confirmed before it is on disk, or that a crash may tear a page.
LASTING = ("fsync", "synchronous_commit", "full_page_writes")

COUNTS = """
    select 3 + (select count(*) from orders.idempotency_keys) + (select count(*) from tickets.idempotency_keys)
         + (select count(*) from payments.payments where reply_status = 201)
"""

FINDS = """
    select format('Postgres runs with %s = off', name) from pg_settings where name = any ($1) and setting = 'off'
    union all
    select format(
        '%s has %s set', concat_ws(' in ', coalesce('role ' || r.rolname, 'everybody'), 'database ' || d.datname), entry
    )
    from pg_db_role_setting s
    left join pg_roles r on r.oid = s.setrole left join pg_database d on d.oid = s.setdatabase,
         unnest(s.setconfig) entry
    where (s.setdatabase = 0 or d.datname = current_database())
      and (s.setrole = 0 or r.rolname like 'gittix\\_%')
      and split_part(entry, '=', 1) = any ($1) and split_part(entry, '=', 2) in ('off', 'false', 'no', '0')
    union all
    select format('function %s has %s set', p.oid::regprocedure, entry)
    from pg_proc p, unnest(p.proconfig) entry
    where p.pronamespace::regnamespace::text = any (array['auth', 'tickets', 'orders', 'payments', 'push', 'events'])
      and split_part(entry, '=', 1) = any ($1) and split_part(entry, '=', 2) in ('off', 'false', 'no', '0')
    union all
    select format('table %s is not logged: a crash empties it', c.oid::regclass)
    from pg_class c
    where c.relkind = 'r' and c.relpersistence = 'u'
      and c.relnamespace::regnamespace::text = any (array['auth', 'tickets', 'orders', 'payments', 'push', 'events'])
    union all
    select format('user %s was told of order %s, which is not there', kept.user_id, kept.body ->> 'id')
    from (
        select k.user_id, convert_from(k.body, 'UTF8')::jsonb as body from orders.idempotency_keys k
        where k.status = 201 and pg_input_is_valid(convert_from(k.body, 'UTF8'), 'jsonb')
    ) kept
    where kept.body ?& array['id', 'buyer_id', 'tickets']
      and not exists (select from orders.orders o where o.id = (kept.body ->> 'id')::uuid)
    union all
    select format('user %s was told of ticket or show %s, which is not there', kept.user_id, kept.body ->> 'id')
    from (
        select k.user_id, convert_from(k.body, 'UTF8')::jsonb as body from tickets.idempotency_keys k
        where k.status = 201 and pg_input_is_valid(convert_from(k.body, 'UTF8'), 'jsonb')
    ) kept
    where kept.body ? 'id'
      and not exists (select from tickets.tickets t where t.id = (kept.body ->> 'id')::uuid)
      and not exists (select from tickets.shows s where s.id = (kept.body ->> 'id')::uuid)
    union all
    select format('buyer %s was told that payment %s stands, but it %s', p.buyer_id, p.id, p.status)
    from payments.payments p
    where p.reply_status = 201 and pg_input_is_valid(convert_from(p.reply_body, 'UTF8'), 'jsonb')
      and convert_from(p.reply_body, 'UTF8')::jsonb ->> 'status' = 'captured'
      and p.status not in ('captured', 'refunded')
"""


async def examine(evidence: Evidence, finding: Finding) -> None:
    await finding.ask(evidence.rows, COUNTS, FINDS, LASTING)
    if isinstance(evidence.redis, Unseen):
        finding.unseen.append(evidence.redis)
        return
    if evidence.redis.last_write != "ok":
        finding.offenders.append(f"Redis's last write to disk ended as {evidence.redis.last_write}")
    if isinstance(evidence.redis.configuration, Unseen):
        finding.unseen.append(evidence.redis.configuration)
        return
    finding.examined += 3
    configuration = evidence.redis.configuration
    finding.offenders += [
        f"Redis runs with {name} = {configuration[name]}"
        for name, lasting in REDIS_LASTING.items()
        if configuration[name] not in lasting
    ]


REDIS_LASTING = {
    "appendonly": {"yes"},
    "appendfsync": {"everysec", "always"},
    "maxmemory-policy": {"noeviction"},
}
