"""Numbered SQL migrations, forward only, and after them the functions, in the one place where each is defined.

All that is pending runs in one transaction under a transaction-scoped advisory lock, so two runners cannot interleave
and a failing file leaves the database as it was. A numbered file that was applied may not change: its digest is kept.
A file of functions may, since it only creates or replaces: it runs again whenever it differs from what ran last.
"""

import re
from collections.abc import Iterable
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from backend.kernel import database, schema_version

LOCK = 0x61745478  # any number that nothing else locks
FILE = re.compile(r"^(\d{4})_(\w+)\.sql$")
FUNCTIONS = "functions"
MIGRATION_SECONDS = 300.0
TABLES = """
create table if not exists public.schema_migrations (
    version int primary key, name text not null, digest text not null, applied_at timestamptz not null default now()
);
create table if not exists public.schema_functions (
    name text primary key, digest text not null, applied_at timestamptz not null default now()
);
"""


class MigrationError(Exception):
    """The database and the files disagree; the message says how."""


class Migration(NamedTuple):
    """One file. A numbered one runs once; one of functions, without a version, whenever it has changed."""

    version: int | None
    name: str
    sql: str

    @property
    def digest(self) -> str:
        return sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.version:04}_{self.name}"


def state(migrations: Iterable[Migration]) -> str:
    """Names the schema that these migrations make."""
    return sha256(
        "".join(f"{migration} {migration.digest}\n" for migration in migrations).encode()
    ).hexdigest()[:16]


def read(folder: Traversable | None = None) -> list[Migration]:
    """The migrations of a folder in order, functions last; by default the project's own."""
    place = folder or files("backend.migrations")
    numbered = sorted(
        Migration(int(match[1]), match[2], entry.read_text())
        for entry in place.iterdir()
        if (match := FILE.match(entry.name))
    )
    functions = place / FUNCTIONS
    definitions = sorted(
        Migration(None, f"{FUNCTIONS}/{entry.name}", entry.read_text())
        for entry in (functions.iterdir() if functions.is_dir() else ())
        if entry.name.endswith(".sql")
    )
    return [*numbered, *definitions]


async def migrate(
    url: str, migrations: Iterable[Migration], *, role_urls: Iterable[str] = ()
) -> list[Migration]:
    """Bring the database to the newest version. Returns what was applied.

    `role_urls` are the services' database URLs: each role gets the password that its URL carries.
    """
    known = list(migrations)
    connection = await database.connect(
        url, name="gittix-migrate", statement_timeout="0", lock_timeout="30s"
    )
    try:
        async with connection.transaction():
            await connection.execute(
                f"select pg_advisory_xact_lock({LOCK})", timeout=MIGRATION_SECONDS
            )
            await connection.execute(TABLES)
            pending = await _pending(connection, known)
            for migration in pending:
                await connection.execute(migration.sql, timeout=MIGRATION_SECONDS)
                await _remember(connection, migration)
            await schema_version.record(connection, state(known))
            for role_url in role_urls:
                await _set_password(connection, role_url)
    finally:
        await connection.close(timeout=5)
    return pending


async def _pending(connection: database.Connection, migrations: list[Migration]) -> list[Migration]:
    rows = await connection.fetch(
        "select version, name, digest from public.schema_migrations order by version"
    )
    applied = {row["version"]: row for row in rows}
    known = {
        migration.version: migration for migration in migrations if migration.version is not None
    }
    if strangers := sorted(applied.keys() - known.keys()):
        raise MigrationError(
            f"the database is ahead of this code: it has migration {strangers[-1]:04}"
        )
    for version, row in applied.items():
        if known[version].digest != row["digest"]:
            raise MigrationError(
                f"migration {version:04}_{row['name']} was changed after it was applied"
            )
    defined = {
        row["name"]: row["digest"]
        for row in await connection.fetch("select name, digest from public.schema_functions")
    }
    return [
        migration
        for migration in migrations
        if (
            migration.version not in applied
            if migration.version is not None
            else defined.get(migration.name) != migration.digest
        )
    ]


async def _remember(connection: database.Connection, migration: Migration) -> None:
    if migration.version is not None:
        await connection.execute(
            "insert into public.schema_migrations (version, name, digest) values ($1, $2, $3)",
            migration.version,
            migration.name,
            migration.digest,
        )
    else:
        await connection.execute(
            """
            insert into public.schema_functions (name, digest) values ($1, $2)
            on conflict (name) do update set digest = excluded.digest, applied_at = now()
            """,
            migration.name,
            migration.digest,
        )


async def _set_password(connection: database.Connection, role_url: str) -> None:
    parts = urlsplit(role_url)
    if parts.username and parts.password:
        statement = await connection.fetchval(
            "select format('alter role %I password %L', $1::text, $2::text)",
            unquote(parts.username),
            unquote(parts.password),
        )
        await connection.execute(statement)
