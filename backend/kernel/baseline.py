"""Brings a database of a version before the baseline to the baseline.

Those versions had migrations 0001_foundation to 0016_fewer_index_entries, some of which were edited
after they had landed. `migrations/before_baseline/` lists the digest of every content that each of
them has had, and holds the table changes of 0008 and later; functions are in `functions/` only.
"""

from asyncpg import Record

from backend.kernel.database import Connection
from backend.kernel.migration_files import (
    Migration,
    MigrationError,
    project_folder,
    read_digests,
    read_numbered,
)

FOLDER = "before_baseline"
FIRST = "foundation"  # the name of migration 0001 before the baseline
# The last version before services had tables to write to.
UNUSED = 2


async def adopt(
    connection: Connection, numbered: list[Migration], seconds: float
) -> list[Migration]:
    """Bring the tables of an earlier version to the baseline. Returns the applied steps.

    The caller has dropped all functions but those of triggers. Does nothing in any other database.
    Each step may take `seconds`. Raises MigrationError for a migration with a content that no
    earlier version had.
    """
    rows = await connection.fetch(
        "select version, name, digest from public.schema_migrations order by version"
    )
    if not rows or rows[0]["name"] != FIRST:
        return []
    _check_digests(rows)
    last = rows[-1]["version"]
    steps = _steps(last)
    for step in steps:
        await connection.execute(step.sql, timeout=seconds)
    await connection.execute("delete from public.schema_migrations")
    if last > UNUSED:
        baseline = numbered[0]
        await connection.execute(
            "insert into public.schema_migrations (version, name, digest) values ($1, $2, $3)",
            baseline.version,
            baseline.name,
            baseline.digest,
        )
    return steps


def _check_digests(rows: list[Record]) -> None:
    accepted = read_digests(project_folder() / FOLDER)
    for row in rows:
        name = f"{row['version']:04}_{row['name']}"
        if name not in accepted:
            raise MigrationError(f"the database has a migration that this code lacks: {name}")
        if row["digest"] not in accepted[name]:
            raise MigrationError(f"migration {name} was changed after it was applied")


def _steps(last: int) -> list[Migration]:
    """The files to run in a database with the last migration `last`."""
    folder = project_folder() / FOLDER
    if last <= UNUSED:
        return [Migration(None, f"{FOLDER}/unused.sql", (folder / "unused.sql").read_text())]
    repairs = Migration(None, f"{FOLDER}/repairs.sql", (folder / "repairs.sql").read_text())
    return [
        repairs,
        *(
            Migration(None, f"{FOLDER}/{step}.sql", step.sql)
            for step in read_numbered(folder)
            if step.version is not None and step.version > last
        ),
    ]
