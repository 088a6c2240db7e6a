"""Which states of the schema a database has been brought to, in the comment of the migrations' own table.

A service may read no table outside its schema, but a comment is in the catalogue, where every role sees it, and goes with
a dump. A new process waits until the state that it was written for has been reached; an old one that is started again after
a newer migration finds its own state among those before.
"""

import asyncio
from collections.abc import Callable, Sequence

import asyncpg

from backend.kernel import database
from backend.kernel.database import Connection

# Nobody starts a release again after so many later ones.
KEPT = 20
POLL_SECONDS = 0.5
# Also "not yet": the first migration makes the roles and their passwords.
REFUSED = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


class NotMigrated(Exception):
    """The time is over; the message says what to do."""


async def reached(connection: Connection) -> list[str]:
    """The states, newest last, as committed by now."""
    comment = await connection.fetchval(
        """
        select obj_description(c.oid, 'pg_class') from pg_class c
        where c.relname = 'schema_migrations' and c.relnamespace::regnamespace::text = 'public'
        """
    )
    return (comment or "").split()


async def record(connection: Connection, state: str) -> None:
    """Within the transaction that brings the database there."""
    states = [*(each for each in await reached(connection) if each != state), state]
    await connection.execute(
        f"comment on table public.schema_migrations is '{' '.join(states[-KEPT:])}'"
    )


async def wait(
    urls: Sequence[str], state: str, *, seconds: float, waiting: Callable[[str], None]
) -> None:
    """Wait until the database is at `state` and every URL's role may log in. `waiting` hears why, each time that it changes.

    Raises NotMigrated.
    """
    clock = asyncio.get_running_loop().time
    deadline, told = clock() + seconds, ""
    while why := await _missing(urls, state):
        if why != told:
            waiting(told := why)
        if clock() > deadline:
            raise NotMigrated(f"{why} after {seconds:.0f} s: run `gittix migrate` of this version")
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
