"""I9: stores that may lose confirmed writes, and stored replies that are no longer true."""

from tests.check.breaches.breach import FREE_TICKET, UNGUARDED, Breach, Plant, sql
from tests.check.seeded_system import SeededSystem

# The counts that pages show still include the deleted ticket.
COUNTS = ("I7",)


def redis_setting(name: str, value: str) -> Plant:
    async def plant(seeded: SeededSystem) -> None:
        await seeded.redis.config_set(name, value)

    return plant


async def database_setting(seeded: SeededSystem) -> None:
    name = await seeded.rows.fetchval("select current_database()")
    await seeded.rows.execute(f"alter database {name} set synchronous_commit = off")


async def role_setting(seeded: SeededSystem) -> None:
    name = await seeded.rows.fetchval("select current_database()")
    await seeded.rows.execute(
        f"alter role gittix_orders in database {name} set synchronous_commit = off"
    )


BREACHES = [
    Breach("I9", "commits of the database don't wait", database_setting, "synchronous_commit"),
    Breach("I9", "commits of a role don't wait", role_setting, "role gittix_orders in database"),
    Breach(
        "I9",
        "commits of a function don't wait",
        sql("alter function orders.finish set synchronous_commit = off"),
        "has synchronous_commit=off set",
    ),
    Breach(
        "I9", "a table is not logged", sql("alter table orders.inbox set unlogged"), "is not logged"
    ),
    Breach(
        "I9",
        "a stored reply has a missing order",
        sql(
            "insert into orders.idempotency_keys (user_id, key, fingerprint, status, headers,"
            " body) values"
            " (gen_random_uuid(), 'k', '', 201, '{}', convert_to(json_build_object('id',"
            " gen_random_uuid(),"
            " 'buyer_id', gen_random_uuid(), 'tickets', '[]'::json)::text, 'UTF8'))"
        ),
        "got a reply with order",
    ),
    Breach(
        "I9",
        "a sold ticket was deleted",
        sql(UNGUARDED, "delete from tickets.tickets where status = 'sold'"),
        "was deleted: it has no row, but a line of order",
        also=COUNTS,
    ),
    Breach(
        "I9",
        "a ticket that nobody bought was deleted",
        sql(
            UNGUARDED,
            "delete from tickets.tickets t where status = 'withdrawn'"
            " and not exists (select from orders.lines l where l.ticket_id = t.id)",
        ),
        "was deleted: it has no row, but its audit",
        also=COUNTS,
    ),
    Breach(
        "I9",
        "a ticket that no transition ever changed was deleted",
        sql(
            UNGUARDED,
            "delete from tickets.tickets t"
            " where not exists (select from tickets.audit a where a.ticket_id = t.id)",
        ),
        "was deleted: it has no row, but its event ticket.listed",
        also=COUNTS,
    ),
    Breach(
        "I9",
        "a role deleted a ticket",
        sql(f"delete from tickets.tickets where {FREE_TICKET}"),
        "role gittix deleted from tickets.tickets at",
        also=COUNTS,
    ),
    Breach(
        "I9",
        "Redis keeps nothing",
        redis_setting("appendonly", "no"),
        "appendonly = no",
        undo="appendonly yes",
    ),
    Breach(
        "I9",
        "Redis forgets under pressure",
        redis_setting("maxmemory-policy", "allkeys-lru"),
        "maxmemory-policy = allkeys-lru",
        undo="maxmemory-policy noeviction",
    ),
]
