"""Only Postgres and Redis, with the options of `gittix up`, for benchmarks without services."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from backend.embedded.postgres import Postgres
from backend.embedded.redis import Redis
from backend.embedded.system_user import credentials
from backend.kernel import database, migrations
from backend.kernel.database import Connection
from backend.kernel.settings import ROLES, Settings, load

DATABASE = "bench"
START_SECONDS = 30
STOP_SECONDS = 20


@asynccontextmanager
async def bare_stores() -> AsyncIterator[tuple[Settings, Connection]]:
    """Yield the settings of a migrated database and an empty Redis, and an owner's connection."""
    with _servers() as (postgres, redis):
        admin = await database.connect(postgres.url(database="postgres"), name="bench")
        await admin.execute(f"create database {DATABASE}")
        await admin.close()
        url = postgres.url(database=DATABASE)
        urls = {role: postgres.url(role=f"gittix_{role}", database=DATABASE) for role in ROLES}
        await migrations.migrate(url, migrations.read(), role_urls=list(urls.values()))
        environment = {f"{role.upper()}_DATABASE_URL": own for role, own in urls.items()}
        owner = await database.connect(url, name="bench", statement_timeout="120s")
        try:
            yield load(environment | {"DATABASE_URL": url, "REDIS_URL": redis.url}), owner
        finally:
            await owner.close()


@contextmanager
def _servers() -> Iterator[tuple[Postgres, Redis]]:
    folder = Path(tempfile.mkdtemp(prefix="gittix-bench-"))
    postgres, redis = Postgres(folder, "bench"), Redis(folder)
    postgres.initialise()
    processes = [
        subprocess.Popen(  # noqa: S603
            postgres.command(), cwd="/", stderr=subprocess.DEVNULL, **credentials()
        ),
        subprocess.Popen(redis.command(), stdout=subprocess.DEVNULL),  # noqa: S603
    ]
    try:
        postgres.wait()
        deadline = time.monotonic() + START_SECONDS
        while not redis.socket.exists():
            if time.monotonic() > deadline:
                raise SystemExit("Redis did not start")
            time.sleep(0.01)
        yield postgres, redis
    finally:
        # Postgres takes SIGINT for a fast stop; Redis takes it as any other.
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait(STOP_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)
