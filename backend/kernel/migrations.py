"""Runs the migrations: forward only, and afterwards every function is as its file defines it.

All pending files run in one transaction under a transaction-scoped advisory lock, so two runners
cannot interleave, and a failing file leaves the database as it was. The digest of an applied
numbered file is recorded; a file that was changed afterwards is refused.

When a file of functions has changed since the last run, all functions are dropped and created
again. A changed signature or a deleted function needs no migration, and a function that is defined
in two files is an error.
"""

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from backend.kernel import baseline, database, schema_version
from backend.kernel.database import Connection
from backend.kernel.migration_files import Migration, MigrationError, read, state

__all__ = ["MIGRATION_SECONDS", "Migration", "MigrationError", "migrate", "read", "state"]

LOCK = 0x61745478  # an arbitrary number that no other code locks
MIGRATION_SECONDS = 300.0
SCHEMAS = ("auth", "tickets", "orders", "payments", "push", "events")
TABLES = """
create table if not exists public.schema_migrations (
    version int primary key, name text not null, digest text not null,
    applied_at timestamptz not null default now()
);
create table if not exists public.schema_functions (
    name text primary key, digest text not null, applied_at timestamptz not null default now()
);
"""


async def migrate(
    url: str, migrations: Iterable[Migration], *, role_urls: Iterable[str] = ()
) -> list[Migration]:
    """Bring the database to the newest version. Returns the applied migrations.

    `role_urls` are the services' database URLs: each role gets the password of its URL. Raises
    MigrationError.
    """
    known = list(migrations)
    connection = await database.connect(
        url, name="gittix-migrate", statement_timeout="0", lock_timeout="30s"
    )
    try:
        await _check_encoding(connection)
        async with connection.transaction():
            await connection.execute(
                f"select pg_advisory_xact_lock({LOCK})", timeout=MIGRATION_SECONDS
            )
            await connection.execute(TABLES)
            applied = await _apply(connection, known)
            await schema_version.record(connection, state(known))
            for role_url in role_urls:
                await _set_password(connection, role_url)
    finally:
        await connection.close(timeout=5)
    return applied


async def _check_encoding(connection: Connection) -> None:
    encoding = await connection.fetchval("show server_encoding")
    if encoding != "UTF8":
        raise MigrationError(
            f"the database has the encoding {encoding}, but texts need UTF8: create it again with"
            " `create database gittix template template0 encoding 'UTF8'`"
        )


async def _apply(connection: Connection, known: list[Migration]) -> list[Migration]:
    numbered = [migration for migration in known if migration.version is not None]
    functions = [migration for migration in known if migration.version is None]
    functions_differ = await _recorded_functions(connection) != {
        migration.name: migration.digest for migration in functions
    }
    if functions_differ:
        # First, so that a numbered file may change a type which the earlier functions used.
        await _drop_functions(connection)
    steps = await baseline.adopt(connection, numbered, MIGRATION_SECONDS)
    pending = await _pending(connection, numbered)
    for migration in [*pending, *(functions if functions_differ else ())]:
        await connection.execute(migration.sql, timeout=MIGRATION_SECONDS)
    await _record(connection, pending)
    if functions_differ:
        await _record_functions(connection, functions)
    return [*steps, *pending, *(functions if functions_differ else ())]


async def _pending(connection: Connection, numbered: list[Migration]) -> list[Migration]:
    """The numbered migrations that this database has not run. Raises MigrationError."""
    rows = await connection.fetch(
        "select version, name, digest from public.schema_migrations order by version"
    )
    applied = {row["version"]: row for row in rows}
    known = {migration.version: migration for migration in numbered}
    if unknown := sorted(applied.keys() - known.keys()):
        raise MigrationError(
            f"the database is ahead of this code: it has migration {unknown[-1]:04}"
        )
    for version, row in applied.items():
        if known[version].digest != row["digest"]:
            raise MigrationError(
                f"migration {version:04}_{row['name']} was changed after it was applied"
            )
    return [migration for migration in numbered if migration.version not in applied]


async def _record(connection: Connection, numbered: list[Migration]) -> None:
    await connection.executemany(
        "insert into public.schema_migrations (version, name, digest) values ($1, $2, $3)",
        [(migration.version, migration.name, migration.digest) for migration in numbered],
    )


async def _recorded_functions(connection: Connection) -> dict[str, str]:
    rows = await connection.fetch("select name, digest from public.schema_functions")
    return {row["name"]: row["digest"] for row in rows}


async def _drop_functions(connection: Connection) -> None:
    """Drop the functions of our schemas, but for those of triggers.

    A trigger's function is replaced in place: its signature cannot change, and dropping a trigger
    would lock its table against readers.
    """
    functions = await connection.fetchval(
        """
        select string_agg(p.oid::regprocedure::text, ', ')
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = any ($1) and p.prorettype <> 'trigger'::regtype
        """,
        SCHEMAS,
    )
    if functions:
        await connection.execute(f"drop routine {functions}")


async def _record_functions(connection: Connection, functions: list[Migration]) -> None:
    await connection.execute("delete from public.schema_functions")
    await connection.executemany(
        "insert into public.schema_functions (name, digest) values ($1, $2)",
        [(migration.name, migration.digest) for migration in functions],
    )


async def _set_password(connection: Connection, role_url: str) -> None:
    parts = urlsplit(role_url)
    if parts.username and parts.password:
        statement = await connection.fetchval(
            "select format('alter role %I password %L', $1::text, $2::text)",
            unquote(parts.username),
            unquote(parts.password),
        )
        await connection.execute(statement)
