"""Invariant I8: access.

The rights of each role are read from Postgres's catalogue. The owners of tickets, orders and
payments are compared in the rows, and the recipients of messages in the push log.
"""

from backend.check.push_log import Message, messages
from backend.check.result import MAX_VIOLATIONS, Result, Unchecked, find_violations
from backend.check.snapshot import Snapshot
from backend.push.protocol import USER_CHANNEL_PREFIX

DESCRIPTION = (
    "each role has only the rights it was granted, and no user buys, pays or receives what belongs"
    " to another"
)

SCHEMAS = ("auth", "tickets", "orders", "payments", "push", "events")
RELAY_RIGHTS = (
    "events.relay SELECT",
    "events.relay UPDATE",
    "events.outbox SELECT",
    "events.outbox DELETE",
    "events.outbox UPDATE",
)
# The functions of docs/design.md, "Callable functions", and each role's own functions that run as
# their owner.
GRANTED = (
    "auth events.append",
    "auth events.bind_correlation",
    "tickets events.append",
    "tickets events.bind_correlation",
    "tickets events.act_for",
    "orders events.append",
    "orders events.bind_correlation",
    "payments events.append",
    "payments events.bind_correlation",
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

# Tables that triggers write; the role of their schema may only read them.
TRIGGER_WRITTEN = r"\.(audit|(refund_)?transitions)$"

RELATIONS = (
    "c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relnamespace::regnamespace::text = any ($1)"
)

COUNT_SQL = """
    select (select count(*) from pg_class c where c.relkind in ('r', 'p', 'v', 'm', 'f')
            and c.relnamespace::regnamespace::text = any (array['auth', 'tickets', 'orders',
                'payments', 'push', 'events']))
         + (select count(*) from orders.lines) + (select count(*) from payments.payments)
"""

GRANTS = f"""
    with roles as (
        select oid, substr(rolname, 8) as noun, rolname, rolsuper or rolcreaterole or rolcreatedb
            or rolreplication or rolbypassrls as is_privileged
        from pg_roles where rolname like 'gittix\\_%'
    ), rights as (
        select r.noun, r.rolname, c.relnamespace::regnamespace::text as space,
            c.oid::regclass::text as name, p.name as privilege
        from roles r, pg_class c, unnest(array['SELECT', 'INSERT', 'UPDATE',
            'REFERENCES']) as p (name)
        where {RELATIONS} and has_any_column_privilege(r.oid, c.oid, p.name)
        union all
        select r.noun, r.rolname, c.relnamespace::regnamespace::text, c.oid::regclass::text, p.name
        from roles r, pg_class c, unnest(array['DELETE', 'TRUNCATE', 'TRIGGER',
            'MAINTAIN']) as p (name)
        where {RELATIONS} and has_table_privilege(r.oid, c.oid, p.name)
    ), functions as (
        select p.oid, p.pronamespace::regnamespace::text as space, p.prosecdef, p.proconfig,
            p.proacl, p.proowner,
               p.pronamespace::regnamespace || '.' || p.proname as name
        from pg_proc p where p.pronamespace::regnamespace::text = any ($1)
    )
    select format('role %s may %s %s', rolname, privilege, name)
    from rights
    where not (noun = space and privilege in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
        and not (name ~ '{TRIGGER_WRITTEN}' and privilege <> 'SELECT'))
      and not (noun = 'relay' and name || ' ' || privilege = any ($2))
    union all
    select format('role gittix_relay may UPDATE column %s of events.outbox', a.attname)
    from roles r, pg_attribute a
    where r.noun = 'relay' and a.attrelid = 'events.outbox'::regclass and a.attnum > 0
        and not a.attisdropped
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
    select format('every role may call %s', f.oid::regprocedure)
    from functions f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) entry
    where entry.grantee = 0
    union all
    select format('every role may %s %s', entry.privilege_type, c.oid::regclass)
    from pg_class c, aclexplode(c.relacl) entry where {RELATIONS} and entry.grantee = 0
    union all
    select format('function %s runs as its owner with the search path of its caller',
        f.oid::regprocedure)
    from functions f
    where f.prosecdef and not coalesce(f.proconfig,
        '{{}}') && array['search_path=pg_catalog, pg_temp']
    union all
    select format('role %s has rights beyond a login', rolname)
    from roles r where is_privileged
        or exists (select from pg_auth_members m where m.member = r.oid)
"""

OWNERS = """
    select format('order %s: its buyer %s sells ticket %s', o.id, o.buyer_id, l.ticket_id)
    from orders.orders o join orders.lines l on l.order_id = o.id where l.seller_id = o.buyer_id
    union all
    select format('order %s of %s has a line of %s', o.id, o.buyer_id, l.buyer_id)
    from orders.orders o join orders.lines l on l.order_id = o.id where l.buyer_id <> o.buyer_id
    union all
    select format('order %s pays %s for ticket %s, whose seller is %s', l.order_id, l.seller_id,
        t.id, t.seller_id)
    from orders.lines l join tickets.tickets t on t.id = l.ticket_id
    where l.seller_id <> t.seller_id or l.show_id <> t.show_id
    union all
    select format('payment %s is by %s for order %s of %s', p.id, p.buyer_id, o.id, o.buyer_id)
    from payments.payments p join orders.orders o on o.id = p.order_id
        where p.buyer_id <> o.buyer_id
"""


async def check(snapshot: Snapshot, result: Result) -> None:
    await result.run(snapshot.connection, COUNT_SQL, OWNERS)
    result.violations += await find_violations(
        snapshot.connection, GRANTS, SCHEMAS, RELAY_RIGHTS, GRANTED, USED
    )
    if isinstance(snapshot.push_log, Unchecked):
        result.unchecked.append(snapshot.push_log)
        return
    published = messages(snapshot.push_log)
    result.examined += len(published)
    result.violations += [sentence for message in published if (sentence := _misdirected(message))][
        :MAX_VIOLATIONS
    ]


def _misdirected(message: Message) -> str | None:
    """Return a sentence when the message must not be on its channel, else None."""
    if message.channel.startswith(USER_CHANNEL_PREFIX):
        addressed = message.channel.removeprefix(USER_CHANNEL_PREFIX)
        for name, owner in (("order", "buyer_id"), ("payment", "buyer_id")):
            of = message.body.get(name)
            if of and of[owner] != addressed:
                return (
                    f"{message.event} of {name} {of['id']} of user {of[owner]}"
                    f" was published on {message.channel}"
                )
        return None
    public = message.body.get("ticket") or message.body
    if "order_id" in public or "buyer_id" in public:
        return f"{message.event} on {message.channel} reveals the order or the buyer"
    return None
