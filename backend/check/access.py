"""Invariant I8: access.

The rights of each role are read from Postgres's catalogue. The owners of shows, tickets, orders and
payments are compared in the rows, with the events of the same subjects and with the audit of
owners, and the recipients of messages in the push log.
"""

from backend.check import rights
from backend.check.push_log import Message, messages
from backend.check.result import MAX_EVENTS, MAX_VIOLATIONS, Result, Unchecked, find_violations
from backend.check.snapshot import Snapshot
from backend.push.protocol import USER_CHANNEL_PREFIX

DESCRIPTION = (
    "each role has only the rights it was granted, no owner or buyer was changed, and no user buys,"
    " pays or receives what belongs to another"
)

RELATIONS = (
    "c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relnamespace::regnamespace::text = any ($1)"
)

COUNT_SQL = """
    select (select count(*) from pg_class c where c.relkind in ('r', 'p', 'v', 'm', 'f')
            and c.relnamespace::regnamespace::text = any (array['auth', 'tickets', 'orders',
                'payments', 'push', 'events']))
         + (select count(*) from orders.lines) + (select count(*) from payments.payments)
"""

# $1 schemas; $2 to $5 the rights by column: role, table, privilege, column; $6 `role schema` of the
# tables that a role reads; $7 `role function`; $8 `role schema` of the names that it resolves.
GRANTS = f"""
    with roles as (
        select oid, substr(rolname, 8) as noun, rolname, rolsuper or rolcreaterole or rolcreatedb
            or rolreplication or rolbypassrls as is_privileged
        from pg_roles where rolname like 'gittix\\_%'
    ), granted as (
        select * from unnest($2::text[], $3::text[], $4::text[], $5::text[])
            as g (noun, name, privilege, column_name)
    ), found as (
        select r.noun, r.rolname, c.relnamespace::regnamespace::text as space,
            c.oid::regclass::text as name, p.name as privilege, a.attname as column_name
        from roles r, pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
            and not a.attisdropped, unnest(array['SELECT', 'INSERT', 'UPDATE',
            'REFERENCES']) as p (name)
        where {RELATIONS} and has_column_privilege(r.oid, c.oid, a.attnum, p.name)
        union all
        select r.noun, r.rolname, c.relnamespace::regnamespace::text, c.oid::regclass::text, p.name,
            null
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
        || coalesce(' (' || string_agg(column_name, ', ' order by column_name) || ')', '')
    from found f
    where not (privilege = 'SELECT' and noun || ' ' || space = any ($6))
      and not exists (
          select from granted g
          where (g.noun, g.name, g.privilege) = (f.noun, f.name, f.privilege)
            and g.column_name in ('{rights.ALL}', f.column_name)
      )
    group by rolname, privilege, name
    union all
    select format('role %s may call %s', r.rolname, f.oid::regprocedure)
    from roles r, functions f
    where has_function_privilege(r.oid, f.oid, 'EXECUTE')
      and not (r.noun = f.space and not f.prosecdef) and not r.noun || ' ' || f.name = any ($7)
    union all
    select format('role %s may %s schema %s', r.rolname, lower(p.name), n.nspname)
    from roles r, pg_namespace n, unnest(array['USAGE', 'CREATE']) as p (name)
    where n.nspname = any ($1 || array['public']) and has_schema_privilege(r.oid, n.oid, p.name)
      and not (p.name = 'USAGE' and r.noun || ' ' || n.nspname = any ($8))
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

# The owner of a subject never changes, so each of its events names the same one.
OWNERS = f"""
    with log as materialized (
        select o.subject, o.type, o.version, o.data from events.outbox o
        where o.position is null or o.position > (select r.position - {MAX_EVENTS}
            from events.relay r)
    ), owned as (
        select 'show' as noun, id, 'owner_id' as field, owner_id as owner from tickets.shows
        union all select 'ticket', id, 'seller_id', seller_id from tickets.tickets
        union all select 'order', id, 'buyer_id', buyer_id from orders.orders
        union all select 'payment', id, 'buyer_id', buyer_id from payments.payments
    )
    select format('%s %s is of %s, but its event %s at version %s is of %s', r.noun, r.id, r.owner,
        l.type, l.version, l.data ->> r.field)
    from log l join owned r on r.id = l.subject and r.noun = split_part(l.type, '.', 1)
    where l.data ->> r.field <> r.owner::text
    union all
    select format('role %s changed an owner in %s at %s: %s became %s', a.role, a.relation, a.at,
        a.before, a.after)
    from events.owner_audit a where a.after is not null and a.accepted_by is null
    union all
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
    result.violations += await find_violations(snapshot.connection, GRANTS, *_granted())
    if isinstance(snapshot.push_log, Unchecked):
        result.unchecked.append(snapshot.push_log)
        return
    published = messages(snapshot.push_log)
    result.examined += len(published)
    result.violations += [sentence for message in published if (sentence := _misdirected(message))][
        :MAX_VIOLATIONS
    ]


def _granted() -> list[list[str]]:
    """The parameters of GRANTS."""
    columns = [list(each) for each in zip(*rights.rights(), strict=True)]
    return [
        list(rights.SCHEMAS),
        *columns,
        [f"{role} {schema}" for role, schemas in rights.READS.items() for schema in schemas],
        [f"{role} {function}" for role, function in rights.calls()],
        [f"{role} {schema}" for role, schemas in rights.USES.items() for schema in schemas],
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
