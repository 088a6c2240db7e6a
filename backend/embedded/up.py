"""`gittix up`: every part on this machine, started in order, kept running, stopped in reverse."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import asyncpg
import httpx
from redis.exceptions import RedisError
from rich.console import Console
from rich.text import Text

from backend.embedded import data_folder, pages, system_user
from backend.embedded import demo as demo_data
from backend.embedded import frontend as shop
from backend.embedded import ports as port_numbers
from backend.embedded.crowd import Crowd
from backend.embedded.data_folder import DataFolderError
from backend.embedded.instance import Instance, InstanceError, locked, open_instance
from backend.embedded.ports import HOST, PortError
from backend.embedded.postgres import DATABASE, PostgresError
from backend.embedded.processes import ProcessError, Processes, Program
from backend.embedded.redis import RedisError as RedisBinaryError
from backend.embedded.services import (
    WITHOUT_HTTP,
    api_program,
    background_programs,
    gateway_names,
)
from backend.embedded.sockets import SocketFolderError
from backend.embedded.system_user import SystemUserError
from backend.embedded.welcome import moved_ports, welcome
from backend.kernel import database, logs, migrations
from backend.kernel.redis import open_redis
from backend.kernel.settings import ROLES, Settings, SettingsError, load
from backend.kernel.supervisor import running

START_SECONDS = 60.0
POLL_SECONDS = 0.1
# The relay and the notifier each hold one while they are active.
LEASES = 2


class StartError(Exception):
    """A part did not start in time; the message names the part and its logs."""


# Each has a message for the user: the problem and the remedy. Other exceptions are defects.
EXPECTED = (
    DataFolderError,
    InstanceError,
    PortError,
    SocketFolderError,
    SystemUserError,
    StartError,
    PostgresError,
    RedisBinaryError,
    ProcessError,
    SettingsError,
    shop.FrontendError,
    migrations.MigrationError,
)


async def run(
    *,
    port: int,
    push_port: int | None,
    stripe_port: int | None,
    push_processes: int,
    folder: Path,
    demo: bool,
    frontend: bool,
) -> int:
    """Run until SIGINT, SIGTERM or SIGHUP. Returns the exit status."""
    console = Console()
    logs.configure(level="warning", style="console")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        ports = port_numbers.choose(api=port, push=push_port, stripe=stripe_port)
        instance = open_instance(folder, ports)
        # All that the processes create: logs and the sandbox's ledger contain personal data.
        os.umask(0o077)
        with locked(instance.folder):
            async with AsyncExitStack() as stack:
                up = Up(console, instance, frontend=frontend, push_processes=push_processes)
                stack.push_async_callback(up.stop)
                for sentence in moved_ports(instance, push=push_port, stripe=stripe_port):
                    up.notice(sentence)
                started = asyncio.create_task(up.start(demo=demo))
                if await _done_before(started, stop):
                    up.welcome(demo=demo)
                    if demo:
                        await stack.enter_async_context(up.crowd())
                    async with up.replacing_gateways(signal.SIGUSR1):
                        await stop.wait()
                console.print("\nStopping …")
            console.print("Stopped. Your data is kept in", str(instance.folder))
    except EXPECTED as error:
        return _fail(str(error))
    except OSError as error:
        # Another program may fill the disk, or change the folder, after the checks.
        if reason := data_folder.explain(error, folder):
            return _fail(reason)
        raise
    return 0


class Up:
    """The parts of one running instance."""

    def __init__(
        self, console: Console, instance: Instance, *, frontend: bool, push_processes: int
    ) -> None:
        self._push_processes = push_processes
        self._console = console
        self._instance = instance
        self._frontend = frontend
        self._environment = instance.environment()
        self._settings: Settings = load(self._environment)
        self._processes = Processes(instance.folder / "logs", self.notice)
        self._began = time.monotonic()

    async def start(self, *, demo: bool) -> None:
        """Start every part and wait until it answers. Raises the EXPECTED exceptions."""
        self._instance.write_environment()
        # The longest step of a first start runs beside the others: only the API needs the pages.
        building = asyncio.create_task(self._build_pages())
        try:
            await self._step("Postgres 18", self._start_postgres)
            await self._step("Redis", self._start_redis)
            await self._step("Migrations", self._migrate)
            for program in background_programs(
                self._instance, self._environment, push_processes=self._push_processes
            ):
                self._processes.start(program)
            await self._await_pages(building)
        finally:
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)
        self._processes.start(
            api_program(self._instance, self._environment, push_processes=self._push_processes)
        )
        await self._await_services()
        if demo:
            await self._step("Demo shows and accounts", self._load_demo)

    async def stop(self) -> None:
        await self._processes.stop()

    @asynccontextmanager
    async def crowd(self) -> AsyncIterator[None]:
        api_url = f"http://{HOST}:{self._instance.ports.api}"
        crowd = Crowd(api_url, self._instance.folder / "crowd.json")
        async with running(("crowd", crowd.run)):
            yield

    @asynccontextmanager
    async def replacing_gateways(self, number: signal.Signals) -> AsyncIterator[None]:
        """While the block runs, this signal replaces the gateways, one after the other: each new
        one listens before the old one stops.
        """
        requested = asyncio.Event()

        async def replace() -> None:
            while True:
                await requested.wait()
                requested.clear()
                for name in gateway_names(self._push_processes):
                    await self._replace_gateway(name)

        asyncio.get_running_loop().add_signal_handler(number, requested.set)
        try:
            async with running(("replace-gateways", replace)):
                yield
        finally:
            asyncio.get_running_loop().remove_signal_handler(number)

    async def _replace_gateway(self, name: str) -> None:
        path = self._instance.operations(name)
        old_socket = _file(path)
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(path)), timeout=3
        ) as http:

            async def is_ready() -> bool:
                # The new process replaces the socket when it starts.
                return _file(path) != old_socket and await _replies(http, f"http://{name}/readyz")

            try:
                await self._processes.replace(name, is_ready)
            except ProcessError as error:
                self.notice(str(error))
            else:
                self.notice(f"{name} is replaced by a new process")

    def welcome(self, *, demo: bool) -> None:
        panel = welcome(
            self._instance,
            stripe_url=self._settings.stripe_api_base,
            frontend=self._frontend,
            demo=demo,
            seconds=time.monotonic() - self._began,
        )
        self._console.print(panel)

    def notice(self, message: str) -> None:
        self._console.print(Text(f"  ! {message}", style="yellow"))

    async def _step(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        began = time.monotonic()
        with self._console.status(f"{name} …"):
            await work()
        self._done(name, time.monotonic() - began)

    def _done(self, name: str, seconds: float) -> None:
        self._console.print(f"  [green]✓[/] {name:<40} [dim]{seconds:5.1f} s[/]", highlight=False)

    async def _build_pages(self) -> float | None:
        """Build the shop's pages. Returns the seconds that took; None when no build was needed."""
        if not self._frontend:
            return None
        began = time.monotonic()
        cache = shop.cache_folder(self._instance.folder)
        found = shop.built(cache)
        if found is None:
            await pages.build(cache)
        self._environment |= {"FRONTEND_FOLDER": str(found or shop.built(cache))}
        return None if found else time.monotonic() - began

    async def _await_pages(self, building: asyncio.Task[float | None]) -> None:
        with self._console.status("The shop's pages …"):
            seconds = await building
        if seconds is not None:
            self._done("The shop's pages, built once", seconds)

    async def _start_postgres(self) -> None:
        postgres = self._instance.postgres
        if opened := await asyncio.to_thread(postgres.open_access):
            folders = os.path.commonpath(opened) + (" and below" if len(opened) > 1 else "")
            self.notice(f"The system user {system_user.NAME} may now pass through {folders}")
        await asyncio.to_thread(postgres.initialise)
        self._processes.start(
            Program(
                "postgres",
                postgres.command(),
                {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
                credentials=system_user.credentials(),
                # Fast shutdown: open transactions are rolled back, and no client is waited for.
                stop_signal=signal.SIGINT,
                stop_seconds=30,
            )
        )
        await self._wait("postgres", self._postgres_answers)
        await self._create_database()

    async def _postgres_answers(self) -> bool:
        try:
            await (await self._connect_as_owner()).close()
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        return True

    async def _create_database(self) -> None:
        connection = await self._connect_as_owner()
        try:
            query = "select exists (select from pg_database where datname = $1)"
            if not await connection.fetchval(query, DATABASE):
                await connection.execute(f"create database {DATABASE}")
        finally:
            await connection.close()

    async def _connect_as_owner(self) -> database.Connection:
        url = self._instance.postgres.url(database="postgres")
        return await database.connect(url, name="gittix-up")

    async def _start_redis(self) -> None:
        self._processes.start(
            Program("redis", self._instance.redis.command(), {"PATH": "/usr/bin:/bin"})
        )
        await self._wait("redis", self._redis_answers)

    async def _redis_answers(self) -> bool:
        redis = open_redis(self._settings.redis_url, name="gittix-up")
        try:
            await redis.get("gittix:ping")
        except (RedisError, OSError):
            return False
        finally:
            await redis.aclose()
        return True

    async def _migrate(self) -> None:
        role_urls = [self._settings.role_database_url(role) for role in ROLES]
        await migrations.migrate(
            self._settings.database_url, migrations.read(), role_urls=role_urls
        )

    async def _await_services(self) -> None:
        ports = self._instance.ports
        # One client for all polls: each client loads the machine's certificates, which takes longer
        # than the poll and would slow the services' start.
        async with httpx.AsyncClient(timeout=3, trust_env=False) as http:
            answers = partial(_answers, http)
            if self._instance.sandboxed:
                await self._await_http(
                    "Stripe sandbox", "stripe-sandbox", partial(answers, ports.stripe, "/healthz")
                )
            await self._await_http(
                "API: auth, tickets, orders, payments",
                "api",
                partial(answers, ports.api, "/readyz"),
            )
            await self._await_http("Push gateway", "push", partial(answers, ports.push, "/readyz"))
        await self._step("Relay, worker and notifier", self._await_leases)

    async def _await_http(
        self, title: str, name: str, answers: Callable[[], Awaitable[bool]]
    ) -> None:
        await self._step(title, lambda: self._wait(name, answers))

    async def _await_leases(self) -> None:
        await self._wait("notifier", self._leases_are_held)
        for name in WITHOUT_HTTP:
            self._processes.check(name)

    async def _leases_are_held(self) -> bool:
        connection = await database.connect(self._settings.database_url, name="gittix-up")
        try:
            held: int = await connection.fetchval(
                """
                select count(*) from pg_locks l join pg_stat_activity a using (pid)
                where l.locktype = 'advisory' and l.granted
                  and a.application_name in ('gittix-relay', 'gittix-notifier')
                """
            )
        finally:
            await connection.close()
        return held >= LEASES

    async def _load_demo(self) -> None:
        await demo_data.load(self._settings)

    async def _wait(self, name: str, is_ready: Callable[[], Awaitable[bool]]) -> None:
        """Poll until the part is ready. Raises ProcessError when it ends, else StartError."""
        deadline = time.monotonic() + START_SECONDS
        while not await is_ready():
            self._processes.check(name)
            if time.monotonic() > deadline:
                raise StartError(
                    f"{name} did not answer within {START_SECONDS:.0f} s. "
                    f"Its log: {self._instance.folder}/logs/{name}.log"
                )
            await asyncio.sleep(POLL_SECONDS)


async def _answers(http: httpx.AsyncClient, port: int, path: str) -> bool:
    return await _replies(http, f"http://{HOST}:{port}{path}")


async def _replies(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).status_code == 200
    except httpx.HTTPError:
        return False


def _file(path: Path) -> tuple[int, int] | None:
    """What distinguishes the file at this path from an earlier one, or None without a file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_ctime_ns


async def _done_before(work: asyncio.Task[None], stop: asyncio.Event) -> bool:
    """Wait for the work or the stop; the stop cancels the work. Returns whether it was done."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if work.done():
        await work
        return True
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work
    return False


def _fail(message: str) -> int:
    """Print an error for the user. Returns the exit status."""
    Console(stderr=True).print(
        "[bold red]gittix:[/]", Text(message), highlight=False, soft_wrap=True
    )
    return 1
