"""The schema states that a database has reached, in the comment of the table of migrations.

A service may read no table outside its schema, but every role can read a comment in the catalogue,
and a dump contains it. A new process waits until the database has reached the state of its code. A
process of an older version that restarts after a newer migration finds its state among the earlier
ones.
"""

import asyncio
from collections.abc import Callable, Sequence

import asyncpg

from backend.kernel import database
from backend.kernel.database import Connection

# A release is not started again after this many later ones.
KEPT = 20
POLL_SECONDS = 0.5
# The first migration creates the roles and their passwords, so these may mean "not yet".
REFUSED = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


class NotMigrated(Exception):
    """The database did not reach the state in time; the message names the remedy."""


async def reached(connection: Connection) -> list[str]:
    """The committed states, newest last."""
    comment = await connection.fetchval(
        """
        select obj_description(c.oid, 'pg_class') from pg_class c
        where c.relname = 'schema_migrations' and c.relnamespace::regnamespace::text = 'public'
        """
    )
    return (comment or "").split()


async def record(connection: Connection, state: str) -> None:
    """Record a state, in the transaction of its migrations."""
    states = [*(each for each in await reached(connection) if each != state), state]
    await connection.execute(
        f"comment on table public.schema_migrations is '{' '.join(states[-KEPT:])}'"
    )


async def wait(
    urls: Sequence[str], state: str, *, seconds: float, waiting: Callable[[str], None]
) -> None:
    """Wait until the database is at `state` and the role of each URL can log in.

    Calls `waiting` with the reason, each time that it changes. Raises NotMigrated.
    """
    clock = asyncio.get_running_loop().time
    deadline, reported = clock() + seconds, ""
    while reason := await _missing(urls, state):
        if reason != reported:
            waiting(reported := reason)
        if clock() > deadline:
            raise NotMigrated(
                f"{reason} after {seconds:.0f} s: run `gittix migrate` of this version"
            )
        await asyncio.sleep(POLL_SECONDS)


async def _missing(urls: Sequence[str], state: str) -> str:
    for url in urls:
        try:
            connection = await database.connect(url, name="gittix-wait")
        except REFUSED:
            return "the database does not know this login yet"
        except database.UNAVAILABLE:
            return "the database can't be reached"
        try:
            if state not in await reached(connection):
                return "the database is not migrated to this version"
        finally:
            await connection.close(timeout=database.CLOSE_SECONDS)
    return ""
