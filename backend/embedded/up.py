"""`gittix up`: everything on this machine, started in order, kept alive, stopped in reverse."""

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import httpx
from redis.exceptions import RedisError
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from backend.embedded import demo as demo_data
from backend.embedded import frontend as shop
from backend.embedded.crowd import Crowd
from backend.embedded.instance import (
    HOST,
    Instance,
    InstanceError,
    Ports,
    check_port,
    locked,
    open_instance,
)
from backend.embedded.postgres import DATABASE, PostgresError, system_user
from backend.embedded.processes import ProcessError, Processes, Program
from backend.kernel import database, logs, migrations
from backend.kernel.redis import open_redis
from backend.kernel.settings import NOUNS, Settings, SettingsError, load
from backend.kernel.supervisor import running

START_SECONDS = 60.0
POLL_SECONDS = 0.05
# What the relay and the notifier lock while they are active.
LEASES = 2
# Their health and metrics are at sockets of their own, and the API shows them.
WITHOUT_HTTP = ("relay", "worker", "consumers", "notifier")
TELLING = 10


class StartError(Exception):
    """A part did not come up; the message says which, and what it said."""


async def run(
    *, port: int, push_port: int, stripe_port: int, folder: Path, demo: bool, frontend: bool
) -> int:
    """Run until somebody asks to stop. Returns the exit status."""
    console = Console()
    logs.configure(level="warning", style="console")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        for taken, option in (
            (port, "--port"),
            (push_port, "--push-port"),
            (stripe_port, "--stripe-port"),
        ):
            check_port(taken, option)
        instance = open_instance(folder, Ports(port, push_port, stripe_port))
        with locked(instance.folder):
            async with AsyncExitStack() as stack:
                up = Up(console, instance, frontend=frontend)
                stack.push_async_callback(up.stop)
                started = asyncio.create_task(up.start(demo=demo))
                if await _done_before(started, stop):
                    up.welcome(demo=demo)
                    if demo:
                        await stack.enter_async_context(up.crowd())
                    await stop.wait()
                console.print("\nStopping …")
            console.print("Stopped. Your data is kept in", str(instance.folder))
    except (
        InstanceError,
        StartError,
        PostgresError,
        ProcessError,
        SettingsError,
        shop.FrontendError,
        migrations.MigrationError,
    ) as fault:
        Console(stderr=True).print(f"[bold red]gittix:[/] {fault}", highlight=False, soft_wrap=True)
        return 1
    return 0


class Up:
    """The parts of one instance, running."""

    def __init__(self, console: Console, instance: Instance, *, frontend: bool) -> None:
        self._console = console
        self._instance = instance
        self._frontend = frontend
        self._environment = instance.environment()
        self._settings: Settings = load(self._environment)
        self._processes = Processes(instance.folder / "logs", self._notice)
        self._began = time.monotonic()

    async def start(self, *, demo: bool) -> None:
        """Start every part and wait until it answers. Raises StartError, PostgresError, ProcessError."""
        self._instance.write_environment()
        if self._frontend:
            await self._build_frontend()
        await self._step("Postgres 18", self._start_postgres)
        await self._step("Redis", self._start_redis)
        await self._step("Migrations", self._migrate)
        # They wait for each other by themselves, so they may start at once.
        self._launch()
        ports = self._instance.ports
        if self._instance.sandboxed:
            await self._step(
                "Stripe sandbox", self._answering("stripe-sandbox", ports.stripe, "/healthz")
            )
        await self._step(
            "API: auth, tickets, orders, payments", self._answering("api", ports.api, "/readyz")
        )
        await self._step("Push gateway", self._answering("push", ports.push, "/readyz"))
        await self._step("Relay, worker and notifier", self._leading)
        if demo:
            await self._step("Demo shows and accounts", self._load_demo)

    async def stop(self) -> None:
        await self._processes.stop()

    @asynccontextmanager
    async def crowd(self) -> AsyncIterator[None]:
        crowd = Crowd(
            f"http://{HOST}:{self._instance.ports.api}", self._instance.folder / "crowd.json"
        )
        async with running(("crowd", crowd.run)):
            yield

    def welcome(self, *, demo: bool) -> None:
        ports = self._instance.ports
        told = Table.grid(padding=(0, 2))
        told.add_column(style="bold")
        if self._frontend:
            told.add_row("Shop", f"http://localhost:{ports.api}/")
        for name, value in (
            ("API", f"http://localhost:{ports.api}/api/docs"),
            ("Shows", f"http://localhost:{ports.api}/api/shows"),
            ("Push", f"ws://localhost:{ports.push}  (Pusher protocol; GET /api/push/config)"),
            ("Stripe", self._settings.stripe_api_base),
            ("Data and logs", str(self._instance.folder)),
        ):
            told.add_row(name, value)
        if demo:
            told.add_row("", "")
            for account in demo_data.ACCOUNTS:
                told.add_row(account.role, f"{account.email}  ·  {demo_data.PASSWORD}")
        told.add_row("", "")
        told.add_row("Try", f"curl 'http://localhost:{ports.api}/api/shows?limit=3'")
        told.add_row("", f"{_gittix()} events tail --data {self._instance.folder}")
        told.add_row("", f"{_gittix()} check --data {self._instance.folder}")
        seconds = time.monotonic() - self._began
        self._console.print(
            Panel(
                told,
                title=f"GitTix is up after {seconds:.1f} s",
                subtitle="Ctrl-C stops it",
                expand=False,
            )
        )

    async def _step(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        began = time.monotonic()
        with self._console.status(f"{name} …"):
            await work()
        self._console.print(
            f"  [green]✓[/] {name:<40} [dim]{time.monotonic() - began:5.1f} s[/]", highlight=False
        )

    async def _build_frontend(self) -> None:
        """Once for each state of the sources; the next start finds it."""
        cache = shop.cache_folder(self._instance.folder)
        if shop.built(cache) is None:
            await self._step(
                "The shop's pages, built once", lambda: asyncio.to_thread(shop.build, cache)
            )
        self._environment = self._environment | {"FRONTEND_FOLDER": str(shop.built(cache))}

    async def _start_postgres(self) -> None:
        postgres = self._instance.postgres
        fresh = await asyncio.to_thread(postgres.initialise)
        self._processes.start(
            Program(
                "postgres",
                postgres.command(),
                {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
                user=system_user(),
                # Fast shutdown: open transactions are rolled back, nobody is waited for.
                stop_signal=signal.SIGINT,
                stop_seconds=30,
            )
        )
        await self._wait("postgres", self._postgres_answers)
        if fresh:
            admin = await database.connect(postgres.url(database="postgres"), name="gittix-up")
            await admin.execute(f"create database {DATABASE}")
            await admin.close()

    async def _postgres_answers(self) -> bool:
        try:
            connection = await database.connect(
                self._instance.postgres.url(database="postgres"), name="gittix-up"
            )
            await connection.close()
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        return True

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
        role_urls = [self._settings.noun_database_url(noun) for noun in NOUNS]
        await migrations.migrate(
            self._settings.database_url, migrations.read(), role_urls=role_urls
        )

    def _launch(self) -> None:
        ports = self._instance.ports
        if self._instance.sandboxed:
            self._command(
                "stripe-sandbox",
                "sandbox",
                *("--port", str(ports.stripe)),
                *("--ledger", str(self._instance.ledger)),
                *("--webhook-url", f"http://{HOST}:{ports.api}/api/payments/webhook"),
            )
        self._command("relay", "relay")
        self._command("worker", "worker", "jobs")
        # Between a change and everybody's screen, what has not happened comes before what has not been told.
        self._command("consumers", "worker", "consumers", niceness=19)
        self._command("notifier", "worker", "notifier", niceness=TELLING)
        self._command("push", "serve", "push", "--port", str(ports.push), niceness=TELLING)
        # Last to start, first to stop: who asks it is answered by parts that are there.
        self._command("api", "serve", "api", "--port", str(ports.api))

    def _operations(self, name: str) -> dict[str, str]:
        """What a process needs for its own health and metrics to be shown; the API shows everybody's."""
        sockets = {each: str(self._instance.operations(each)) for each in WITHOUT_HTTP}
        if name in sockets:
            return {"OPS_HOST": sockets[name]}
        peers = sockets | {"push": f"http://{HOST}:{self._instance.ports.push}"}
        told = "\n".join(f"{each}={address}" for each, address in peers.items())
        return {"OPS_PEERS": told} if name == "api" else {}

    def _answering(self, name: str, port: int, path: str) -> Callable[[], Awaitable[None]]:
        return lambda: self._wait(name, lambda: _answers(port, path))

    async def _leading(self) -> None:
        await self._wait("notifier", self._leases_are_held)
        for name in ("relay", "worker", "consumers"):
            self._processes.check(name)

    async def _leases_are_held(self) -> bool:
        connection = await database.connect(self._settings.database_url, name="gittix-up")
        try:
            held: int = await connection.fetchval(
                """
                select count(*) from pg_locks l join pg_stat_activity a using (pid)
                where l.locktype = 'advisory' and l.granted and a.application_name in ('gittix-relay', 'gittix-notifier')
                """
            )
        finally:
            await connection.close()
        return held >= LEASES

    async def _load_demo(self) -> None:
        await demo_data.load(self._settings)

    def _command(self, name: str, *arguments: str, niceness: int = 0) -> None:
        command = [sys.executable, "-m", "backend.cli", *arguments]
        environment = _inherited() | self._environment | self._operations(name)
        self._processes.start(Program(name, command, environment, niceness=niceness))

    async def _wait(self, name: str, ready: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not await ready():
            self._processes.check(name)
            if time.monotonic() > deadline:
                raise StartError(
                    f"{name} did not answer within {START_SECONDS:.0f} s; see {self._instance.folder}/logs"
                )
            await asyncio.sleep(POLL_SECONDS)

    def _notice(self, message: str) -> None:
        self._console.print(Text(f"  ! {message}", style="yellow"))


async def _answers(port: int, path: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=3) as client:
            return (await client.get(f"http://{HOST}:{port}{path}")).status_code == 200
    except httpx.HTTPError:
        return False


async def _done_before(work: asyncio.Task[None], stop: asyncio.Event) -> bool:
    """Wait for the work, or for the wish to stop, which ends the work. Returns whether the work was done."""
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


def _gittix() -> str:
    """The command as it can be typed here: `make` doesn't put it on the PATH."""
    return (
        "gittix"
        if shutil.which("gittix")
        else os.path.relpath(Path(sys.executable).with_name("gittix"))
    )


def _inherited() -> dict[str, str]:
    """What a child needs of this shell beside GitTix's own settings."""
    return {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "TMPDIR")
        if name in os.environ
    }
