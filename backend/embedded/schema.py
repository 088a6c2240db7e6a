"""Writes `backend/migrations/schema.sql`, the schema that the migrations create, or verifies it.

`python -m backend.embedded.schema` migrates a database of a temporary Postgres and writes the file;
with `--check` it exits with status 1 when the file differs.
"""

import argparse
import asyncio
import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

from backend.embedded.postgres import DATABASE, Postgres
from backend.embedded.system_user import credentials
from backend.kernel import database, migrations, schema_dump

FILE = Path(__file__).parent.parent / "migrations" / "schema.sql"
# The data is thrown away, so nothing has to reach the disk.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m backend.embedded.schema")
    parser.add_argument("--check", action="store_true", help="only compare the file")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory(prefix="gittix-schema-") as folder:
        current = _generate(Path(folder))
    if not check:
        FILE.write_text(current)
        return 0
    difference = list(
        difflib.unified_diff(
            FILE.read_text().splitlines(), current.splitlines(), "schema.sql", "migrated", n=1
        )
    )
    if difference:
        difference.append("backend/migrations/schema.sql is out of date: run `make schema`")
        sys.stderr.write("\n".join([*difference, ""]))
    return 1 if difference else 0


def _generate(folder: Path) -> str:
    cluster = Postgres(folder, "schema")
    cluster.initialise()
    server = subprocess.Popen(  # noqa: S603 - our own binaries
        cluster.command(**FAST), stderr=subprocess.DEVNULL, cwd="/", **credentials()
    )
    try:
        cluster.wait()
        return asyncio.run(_dump(cluster))
    finally:
        server.terminate()
        server.wait(20)


async def _dump(cluster: Postgres) -> str:
    admin = await database.connect(cluster.url(database="postgres"), name="gittix-schema")
    await admin.execute(f"create database {DATABASE}")
    await admin.close()
    await migrations.migrate(cluster.url(), migrations.read())
    connection = await database.connect(cluster.url(), name="gittix-schema")
    try:
        return await schema_dump.dump(connection)
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.exit(main())
