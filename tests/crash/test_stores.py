"""Postgres or Redis, run as by `gittix up`, is killed during the scenario; no promise is lost."""

import asyncio
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from backend.embedded.postgres import DATABASE, Postgres
from backend.embedded.redis import Redis
from backend.embedded.system_user import Credentials, credentials
from tests.crash import scenario, verification
from tests.crash.processes import Processes, running
from tests.crash.scenario import World
from tests.fork_server import ForkServer
from tests.stores import PASSWORD, create_migrated
from tests.system import System, until

START_SECONDS = 20.0

pytestmark = pytest.mark.timeout(120)


class Server:
    """The process of a store."""

    def __init__(
        self,
        command: Sequence[str],
        answers: Callable[[], bool],
        owner: Credentials = Credentials(),  # noqa: B008 - never changed
    ) -> None:
        self._command = command
        self._answers = answers
        self._owner = owner
        self._process = self._start()

    def crash(self) -> None:
        """Kill the process with SIGKILL and restart it.

        Its children release its resources a moment later, so a start may fail and is repeated.
        """
        self._process.kill()
        self._process.wait()
        self._process = self._start()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(START_SECONDS)

    def _start(self) -> subprocess.Popen[bytes]:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            process = subprocess.Popen(
                self._command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                **self._owner,
            )
            while process.poll() is None:
                if self._answers():
                    return process
                time.sleep(0.02)
        raise AssertionError(f"{self._command[0]} does not start")


class Stores:
    def __init__(self, folder: Path) -> None:
        self._postgres = Postgres(folder, PASSWORD)
        self._redis = Redis(folder)
        self._postgres.initialise()
        self.servers = {
            "postgres": Server(self._postgres.command(), self._postgres.is_ready, credentials()),
            "redis": Server(self._redis.command(), self._redis_answers),
        }

    async def migrate(self) -> None:
        await create_migrated(self._postgres, DATABASE)

    def system(self, stack: AsyncExitStack, folder: Path) -> System:
        return System(stack, self._postgres, DATABASE, self._redis.url, folder)

    def stop(self) -> None:
        for server in self.servers.values():
            server.stop()

    def _redis_answers(self) -> bool:
        result = subprocess.run(
            [
                Path(self._redis.command()[0]).with_name("redis-cli"),
                "-s",
                self._redis.socket,
                "ping",
            ],
            capture_output=True,
            check=False,
            timeout=10,
        )
        return result.stdout.strip() == b"PONG"


@pytest.fixture
def stores() -> Iterator[Stores]:
    with _passable_folder() as folder:
        stores = Stores(folder)
        try:
            yield stores
        finally:
            stores.stop()


@pytest.fixture
async def durable(stores: Stores, tmp_path: Path) -> AsyncIterator[System]:
    await stores.migrate()
    async with AsyncExitStack() as stack:
        system = stores.system(stack, tmp_path)
        system.configure(HOLD_SECONDS=scenario.HOLD_SECONDS)
        yield system


@pytest.mark.parametrize("store", ["postgres", "redis"])
async def test_no_promise_is_lost_when_a_store_is_killed(
    store: str, stores: Stores, durable: System, fork_server: ForkServer
) -> None:
    assert await violations_after_killing(store, stores, durable, fork_server) == []


async def test_with_asynchronous_commits_a_killed_postgres_loses_promises(
    stores: Stores, durable: System, fork_server: ForkServer
) -> None:
    """The negative control: promises before the kill are lost, and a client gets `not_found`."""
    admin = await durable.connect()
    await admin.execute("alter system set wal_writer_delay = '10s'")
    await admin.execute("select pg_reload_conf()")
    await admin.execute(f"alter database {DATABASE} set synchronous_commit = off")
    await admin.execute("checkpoint")
    with pytest.raises(ExceptionGroup) as met:
        await violations_after_killing("postgres", stores, durable, fork_server)
    assert met.group_contains(AssertionError, match="not_found")


async def violations_after_killing(
    store: str, stores: Stores, system: System, fork_server: ForkServer
) -> list[str]:
    """Kill the store during a payment, finish the scenario, and verify.

    Raises an ExceptionGroup of the clients' failed assertions.
    """
    processes = Processes(system, fork_server)
    async with scenario.open_world(system) as world, running(processes):
        playing = asyncio.create_task(world.play())
        await until(lambda: _paying(world), seconds=20)
        promised = len(world.promises)
        await asyncio.to_thread(stores.servers[store].crash)
        await world.rows.expire_connections()
        await playing
        await verification.wait_until_idle(world, processes)
        assert 0 < promised < len(world.promises)
        return await verification.violations(world)


async def _paying(world: World) -> bool:
    found: bool = await world.rows.fetchval("select exists (select from payments.payments)")
    return found


@contextmanager
def _passable_folder() -> Iterator[Path]:
    """Make a folder with a short path, for the sockets, that other users can enter.

    Postgres runs as another user when the tests run as root.
    """
    folder = Path(tempfile.mkdtemp(prefix="gittix-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
