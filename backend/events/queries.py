"""The relay's statements on the outbox and its log."""

from backend.kernel import database
from backend.kernel.database import Connection

RETENTION = "7 days"
MAX_COUNTED = 100_000
PURGE_BATCH = 10_000

COLUMNS = """
    position, event_id, type, schema, subject, version, occurred_at, correlation_id, causation_id,
    data::text as data, extract(epoch from now() - occurred_at)::float8 as age
"""


async def assign_positions(connection: Connection, limit: int) -> list[database.Record]:
    """Assign the next positions to committed rows. Returns these rows, in order.

    The update finds its rows by `ctid`. The ctid of a row without a position cannot change, since
    only the relay updates such rows. A second relay that wrongly believes to hold the lease waits
    for the first one's row lock, and then finds that its rows have positions. That condition is
    written as `coalesce(o.position, 0) = 0`, which matches no index: with `position is null`
    Postgres may scan the partial index of all rows without a position for each batch.
    """
    return await connection.fetch(
        f"""
        with start as materialized (
            select position from events.relay for update
        ), batch as (
            select b.row, b.id, row_number() over (order by b.id) as n
            from (
                select ctid as row, id from events.outbox
                where position is null order by id limit {limit:d}
            ) b
        ), numbered as (
            update events.outbox o set position = (select position from start) + batch.n
            from batch
            where o.ctid = any (array(select row from batch)) and o.id = batch.id
                and coalesce(o.position, 0) = 0
            returning o.*
        ), moved as (
            update events.relay set position = (select max(position) from numbered)
            where exists (select from numbered)
        )
        select {COLUMNS} from numbered order by position
        """
    )


async def unpublished_rows(
    connection: Connection, position: int, limit: int
) -> list[database.Record]:
    """Return up to `limit` rows after `position`, in order."""
    return await connection.fetch(
        f"select {COLUMNS} from events.outbox where position > $1 order by position limit $2",
        position,
        limit,
    )


async def unpublished_backlog(connection: Connection, position: int | None) -> tuple[int, float]:
    """Return the number of unpublished events, and the age in seconds of the oldest.

    Unpublished events come after `position`, or when it is None after the last assigned position.
    Rows without a position are counted up to a bound: the relay does not publish while it counts.
    """
    row = await connection.fetchrow(
        f"""
        select
            (
                select count(*) from (
                    select from events.outbox where position is null limit {MAX_COUNTED}
                ) unnumbered
            ) + relay.position - coalesce($1, relay.position) as depth,
            coalesce(extract(epoch from clock_timestamp() - least(
                (
                    select occurred_at from events.outbox
                    where position > coalesce($1, relay.position) order by position limit 1
                ),
                (select occurred_at from events.outbox where position is null order by id limit 1)
            )), 0)::float8 as age
        from events.relay
        """,
        position,
    )
    assert row is not None
    return row["depth"], row["age"]


async def purge(connection: Connection, published: int) -> int:
    """Delete events older than the retention, up to the position `published`.

    Returns the number deleted.

    The statement reads only the lowest positions, so a purge that finds none reads a page or two,
    however long the log.
    """
    status = await connection.execute(
        f"""
        delete from events.outbox where ctid = any (array(
            select lowest.row from (
                select ctid as row, occurred_at from events.outbox
                where position <= $1 order by position limit {PURGE_BATCH}
            ) lowest
            where occurred_at < now() - interval '{RETENTION}'
        ))
        """,
        published,
    )
    return int(status.removeprefix("DELETE "))
