"""I8. Whose rows a role can reach is in Postgres's catalogue; whose tickets, payments and messages went to whom is in
the rows and in the push log.
"""

from backend.check.evidence import Evidence
from backend.check.finding import MOST, Finding, Unseen, sentences
from backend.check.push_log import Message, messages
from backend.push.protocol import USER_CHANNEL_PREFIX

SAYS = "each role reaches its own schema and the functions it was granted, and nobody bought, paid or heard what isn't theirs"

SCHEMAS = ("auth", "tickets", "orders", "payments", "push", "events")
RELAY_RIGHTS = (
    "events.relay SELECT",
    "events.relay UPDATE",
    "events.outbox SELECT",
    "events.outbox DELETE",
    "events.outbox UPDATE",
)
# See docs/design.md, "Callable functions"; and those of a role's own schema that run as their
# owner.
GRANTED = (
    "auth events.append",
    "tickets events.append",
    "tickets events.act_for",
    "orders events.append",
    "payments events.append",
    "orders tickets.hold",
    "orders tickets.release",
    "orders tickets.extend",
    "orders tickets.reserve",
    "orders tickets.sell",
    "orders tickets.release_due",
    "orders orders.place",
    "orders orders.close",
    "orders orders.cancel",
    "orders orders.expire_batches",
    "orders orders.expire_due",
    "payments orders.begin_payment",
    "payments orders.settle",
    "payments orders.finish",
    "payments orders.fail",
    "payments orders.begin_refund",
    "payments orders.finish_refund",
    "payments orders.fail_refund",
    "payments orders.read",
)
USED = (
    "auth auth",
    "auth events",
    "tickets tickets",
    "tickets events",
    "orders orders",
    "orders tickets",
    "orders events",
    "payments payments",
    "payments orders",
    "payments events",
    "push push",
    "relay events",
)

# What triggers write; a noun only reads it.
RECORDS = r"\.(audit|transitions)$"

RELATIONS = (
    "c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relnamespace::regnamespace::text = any ($1)"
)

COUNTS = """
    select (select count(*) from pg_class c where c.relkind in ('r', 'p', 'v', 'm', 'f')
            and c.relnamespace::regnamespace::text = any (array['auth', 'tickets', 'orders', 'payments', 'push', 'events']))
         + (select count(*) from orders.lines) + (select count(*) from payments.payments)
"""

GRANTS = f"""
    with roles as (
        select oid, substr(rolname, 8) as noun, rolname, rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as is_mighty
        from pg_roles where rolname like 'gittix\\_%'
    ), rights as (
        select r.noun, r.rolname, c.relnamespace::regnamespace::text as space, c.oid::regclass::text as name, p.name as privilege
        from roles r, pg_class c, unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) as p (name)
        where {RELATIONS} and has_any_column_privilege(r.oid, c.oid, p.name)
        union all
        select r.noun, r.rolname, c.relnamespace::regnamespace::text, c.oid::regclass::text, p.name
        from roles r, pg_class c, unnest(array['DELETE', 'TRUNCATE', 'TRIGGER', 'MAINTAIN']) as p (name)
        where {RELATIONS} and has_table_privilege(r.oid, c.oid, p.name)
    ), functions as (
        select p.oid, p.pronamespace::regnamespace::text as space, p.prosecdef, p.proconfig, p.proacl, p.proowner,
               p.pronamespace::regnamespace || '.' || p.proname as name
        from pg_proc p where p.pronamespace::regnamespace::text = any ($1)
    )
    select format('role %s may %s %s', rolname, privilege, name)
    from rights
    where not (noun = space and privilege in ('SELECT', 'INSERT', 'UPDATE', 'DELETE') and not (name ~ '{RECORDS}' and privilege <> 'SELECT'))
      and not (noun = 'relay' and name || ' ' || privilege = any ($2))
    union all
    select format('role gittix_relay may UPDATE column %s of events.outbox', a.attname)
    from roles r, pg_attribute a
    where r.noun = 'relay' and a.attrelid = 'events.outbox'::regclass and a.attnum > 0 and not a.attisdropped
      and a.attname <> 'position' and has_column_privilege(r.oid, a.attrelid, a.attnum, 'UPDATE')
    union all
    select format('role %s may call %s', r.rolname, f.oid::regprocedure)
    from roles r, functions f
    where has_function_privilege(r.oid, f.oid, 'EXECUTE')
      and not (r.noun = f.space and not f.prosecdef) and not r.noun || ' ' || f.name = any ($3)
    union all
    select format('role %s may %s schema %s', r.rolname, lower(p.name), n.nspname)
    from roles r, pg_namespace n, unnest(array['USAGE', 'CREATE']) as p (name)
    where n.nspname = any ($1 || array['public']) and has_schema_privilege(r.oid, n.oid, p.name)
      and not (p.name = 'USAGE' and r.noun || ' ' || n.nspname = any ($4))
    union all
    select format('function %s is everybody''s to call', f.oid::regprocedure)
    from functions f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) entry
    where entry.grantee = 0
    union all
    select format('%s is everybody''s to %s', c.oid::regclass, lower(entry.privilege_type))
    from pg_class c, aclexplode(c.relacl) entry where {RELATIONS} and entry.grantee = 0
    union all
    select format('function %s runs as its owner with the search path of its caller', f.oid::regprocedure)
    from functions f
    where f.prosecdef and not coalesce(f.proconfig, '{{}}') && array['search_path=pg_catalog, pg_temp']
    union all
    select format('role %s is more than a login', rolname)
    from roles r where is_mighty or exists (select from pg_auth_members m where m.member = r.oid)
"""

OWNERS = """
    select format('order %s: its buyer %s sells ticket %s', o.id, o.buyer_id, l.ticket_id)
    from orders.orders o join orders.lines l on l.order_id = o.id where l.seller_id = o.buyer_id
    union all
    select format('order %s of %s has a line of %s', o.id, o.buyer_id, l.buyer_id)
    from orders.orders o join orders.lines l on l.order_id = o.id where l.buyer_id <> o.buyer_id
    union all
    select format('order %s pays %s for ticket %s, whose seller is %s', l.order_id, l.seller_id, t.id, t.seller_id)
    from orders.lines l join tickets.tickets t on t.id = l.ticket_id
    where l.seller_id <> t.seller_id or l.show_id <> t.show_id
    union all
    select format('payment %s is by %s for order %s of %s', p.id, p.buyer_id, o.id, o.buyer_id)
    from payments.payments p join orders.orders o on o.id = p.order_id where p.buyer_id <> o.buyer_id
"""


async def examine(evidence: Evidence, finding: Finding) -> None:
    await finding.ask(evidence.rows, COUNTS, OWNERS)
    finding.offenders += await sentences(
        evidence.rows, GRANTS, SCHEMAS, RELAY_RIGHTS, GRANTED, USED
    )
    if isinstance(evidence.push_log, Unseen):
        finding.unseen.append(evidence.push_log)
        return
    told = messages(evidence.push_log)
    finding.examined += len(told)
    finding.offenders += [sentence for message in told if (sentence := _overheard(message))][:MOST]


def _overheard(message: Message) -> str | None:
    """Why a message should not have gone to its channel."""
    if message.channel.startswith(USER_CHANNEL_PREFIX):
        addressed = message.channel.removeprefix(USER_CHANNEL_PREFIX)
        for name, owner in (("order", "buyer_id"), ("payment", "buyer_id")):
            of = message.body.get(name)
            if of and of[owner] != addressed:
                return f"{message.event} of {name} {of['id']} of user {of[owner]} went to {message.channel}"
        return None
    told = message.body.get("ticket") or message.body
    if "order_id" in told or "buyer_id" in told:
        return f"{message.event} on {message.channel} tells everybody whose order it is"
    return None
