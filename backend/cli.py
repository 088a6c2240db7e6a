"""The `gittix` command.

Commands import their modules when they run, because each process of an instance is such a command
and starts with the modules that it needs.
"""

import asyncio
import gc
import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import click

from backend.embedded.instance import DEFAULT_FOLDER, InstanceError, environment_of
from backend.kernel import logs, tracing
from backend.kernel.schema_version import NotMigrated
from backend.kernel.settings import ROLES, Settings, SettingsError, load
from backend.kernel.shutdown import stop_event

FILE = click.Path(path_type=Path)
SERVICES = ("auth", "tickets", "orders", "payments", "push", "shop", "api")
WORKER_PARTS = ("jobs", "consumers", "notifier")

Command = Callable[..., None]


class Port(click.IntRange):
    """`name` stands in the help and in the error of a wrong value."""

    name = "port"


class Integer(click.IntRange):
    name = "integer"


class Number(click.FloatRange):
    name = "number"


PORT = Port(1, 65_535)

data_option = click.option(
    "--data",
    type=FILE,
    help=f"Folder of an embedded instance; by default the environment's URLs, or {DEFAULT_FOLDER}.",
)
host_option = click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on."
)


def port_option(default: int) -> Callable[[Command], Command]:
    return click.option(
        "--port", type=PORT, default=default, show_default=True, help="Port to listen on."
    )


@click.group(no_args_is_help=True, context_settings={"max_content_width": 100})
def cli() -> None:
    """GitTix: a real-time marketplace for one-time tickets."""


@cli.group(no_args_is_help=True)
def events() -> None:
    """The event stream."""


@cli.command()
@click.option("--port", type=PORT, default=8000, show_default=True, help="The API's port.")
@click.option(
    "--push-port", type=PORT, show_default="8001 if free", help="The push gateway's port."
)
@click.option(
    "--stripe-port", type=PORT, show_default="8002 if free", help="The Stripe sandbox's port."
)
@click.option(
    "--push-processes",
    type=Integer(1, 64),
    default=1,
    show_default=True,
    help="Processes of the push gateway, which share its port.",
)
@click.option(
    "--data",
    type=FILE,
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Where the instance keeps its data.",
)
@click.option(
    "--demo/--no-demo",
    default=True,
    show_default=True,
    help="Load demo shows, and simulate users that hold and buy.",
)
@click.option(
    "--frontend/--no-frontend",
    default=True,
    show_default=True,
    help="Build the shop's pages when they changed, and serve them.",
)
def up(
    *,
    port: int,
    push_port: int | None,
    stripe_port: int | None,
    push_processes: int,
    data: Path,
    demo: bool,
    frontend: bool,
) -> None:
    """Run everything on this machine: Postgres, Redis, a Stripe sandbox and all services."""
    from backend.embedded.up import run

    sys.exit(
        asyncio.run(
            run(
                port=port,
                push_port=push_port,
                stripe_port=stripe_port,
                push_processes=push_processes,
                folder=data,
                demo=demo,
                frontend=frontend,
            )
        )
    )


@cli.command()
@click.argument("service", type=click.Choice(SERVICES))
@host_option
@port_option(8000)
@click.option(
    "--share-port",
    is_flag=True,
    help="Let several processes of a service listen on the port, also a new one before an old "
    "one stops. They need an OPS_HOST and OPS_PORT each.",
)
def serve(service: str, host: str, port: int, *, share_port: bool) -> None:
    """Serve one service, the shop's pages (`shop`), or all services in one process (`api`)."""
    from backend.bootstrap import serve as serve_app
    from backend.bootstrap import settings_for

    settings = settings_for(service, os.environ)
    _configure_observability(settings, service)
    _run(serve_app(service, settings, host=host, port=port, share_port=share_port))


@cli.command()
def openapi() -> None:
    """Print the API's OpenAPI document."""
    from backend.bootstrap import ROUTES
    from backend.kernel.openapi import openapi_document

    click.echo(json.dumps(openapi_document(ROUTES), indent=2))


@cli.command()
@click.argument("part", type=click.Choice(WORKER_PARTS), required=False)
def worker(part: str | None) -> None:
    """Run the jobs, the consumers of the event stream, and the notifier; or only one PART."""
    from backend.kernel import garbage_collection, health
    from workers.main import NEEDS
    from workers.main import worker as running_worker

    parts = [part] if part else list(NEEDS)
    settings = load(
        os.environ, needs=tuple(dict.fromkeys(need for one in parts for need in NEEDS[one]))
    )
    _configure_observability(settings, f"worker-{part}" if part else "worker")

    async def work() -> None:
        garbage_collection.tune(settings)
        with stop_event() as stop:
            async with (
                health.served(settings) as readiness,
                running_worker(settings, parts) as checks,
            ):
                with readiness.checking(checks):
                    await stop.wait()

    _run(work())


@cli.command()
def relay() -> None:
    """Publish the outbox to the event stream."""
    from backend.events.relay import Relay
    from backend.kernel import garbage_collection, health
    from backend.kernel.redis import open_redis
    from backend.kernel.supervisor import running

    settings = load(os.environ, needs=("database:relay", "redis_url"))
    _configure_observability(settings, "relay")

    async def work() -> None:
        garbage_collection.tune(settings)
        redis = open_redis(settings.redis_url, name="gittix-relay")
        outbox_relay = Relay(settings.role_database_url("relay"), redis)
        try:
            with stop_event() as stop:
                async with (
                    health.served(settings) as readiness,
                    running(("relay", outbox_relay.run)),
                ):
                    with readiness.checking(outbox_relay.checks()):
                        await stop.wait()
        finally:
            await redis.aclose()

    _run(work())


@cli.command()
@click.option("--ledger", type=FILE, required=True, help="SQLite file with the sandbox's objects.")
@click.option("--webhook-url", required=True, help="URL to which events are posted.")
@host_option
@port_option(8002)
def sandbox(ledger: Path, webhook_url: str, host: str, port: int) -> None:
    """Run the Stripe sandbox: an imitation of Stripe's API for the demo and tests."""
    from backend.bootstrap import http_config
    from backend.kernel.server import Server
    from backend.stripe_sandbox.app import SandboxSettings, build

    settings = load(os.environ, needs=("stripe_api_key", "stripe_webhook_secrets"))
    _configure_observability(settings, "stripe-sandbox")
    try:
        sandbox_settings = SandboxSettings(
            database=ledger,
            api_key=settings.stripe_api_key,
            webhook_url=webhook_url,
            webhook_secret=settings.webhook_secrets[0],
            public_url=settings.stripe_sandbox_url or None,
        )
    except ValueError as error:
        raise SettingsError(f"STRIPE_API_KEY: {error}") from error
    server = Server(
        http_config(build(sandbox_settings), host, port),
        delay_seconds=settings.shutdown_delay_seconds,
    )
    _run(server.serve())


@cli.command()
@click.option(
    "--wait",
    is_flag=True,
    help="Change nothing: wait until the database is migrated. Works as any role.",
)
def migrate(*, wait: bool) -> None:
    """Migrate the database to the newest version."""
    from backend.kernel import migrations

    if wait:
        _await_migration()
        return
    settings = load(os.environ, needs=("database_url",))
    applied = asyncio.run(
        migrations.migrate(settings.database_url, migrations.read(), role_urls=_role_urls(settings))
    )
    for migration in applied:
        print(f"applied {migration}")
    if not applied:
        print("the database is up to date")


@cli.command()
@click.option(
    "--shows",
    type=Integer(1, 100_000),
    default=20,
    show_default=True,
    help="Number of shows.",
)
@click.option(
    "--tickets",
    type=Integer(1, 10_000_000),
    default=400,
    show_default=True,
    help="Number of tickets in total.",
)
@data_option
def seed(shows: int, tickets: int, data: Path | None) -> None:
    """Fill a database with shows and tickets."""
    from backend.embedded.demo import seed as seed_database

    settings = load(_environment(data), needs=("database:auth", "database:tickets"))
    asyncio.run(seed_database(settings, shows=shows, tickets=tickets))


@cli.command()
@click.option(
    "--watch", is_flag=True, help="Repeat the check; exit with the status of the last one."
)
@click.option(
    "--every",
    type=Number(0.1, 3600),
    default=5.0,
    show_default=True,
    help="Seconds between two checks.",
)
@click.option("--metrics-port", type=PORT, help="Port that serves the last check's metrics.")
@click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    help="Address that serves the metrics.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each check.")
@data_option
def check(
    *,
    watch: bool,
    every: float,
    metrics_port: int | None,
    metrics_host: str,
    as_json: bool,
    data: Path | None,
) -> None:
    """Check the invariants.

    Exit with 0 when all hold, 1 on a violation, 2 when the check cannot run.
    """
    from backend.check import command

    settings = load(_environment(data), needs=("database:check",))
    if not watch:
        sys.exit(asyncio.run(command.run_once(settings, as_json=as_json)))
    watching = command.run_watch(
        settings, every_seconds=every, host=metrics_host, port=metrics_port, as_json=as_json
    )
    sys.exit(asyncio.run(watching))


@cli.command()
@data_option
def env(data: Path | None) -> None:
    """Print an embedded instance's environment as KEY=value lines."""
    for name, value in environment_of(data or DEFAULT_FOLDER).items():
        print(f"{name}={value}")


@cli.command()
@click.option(
    "--expand",
    is_flag=True,
    help="Replace each ${NAME} by its value, for a reader that does not expand references.",
)
def secrets(*, expand: bool) -> None:
    """Fill the empty secrets of an env file: gittix secrets < .env.example > .env"""
    from backend.embedded.secrets import TemplateError, fill

    if sys.stdin.isatty():
        raise click.UsageError(
            "the file is read from standard input: gittix secrets < .env.example > .env"
        )
    try:
        print(fill(sys.stdin.read(), expand=expand), end="")
    except TemplateError as error:
        print(f"gittix: {error}", file=sys.stderr)
        sys.exit(1)


@events.command()
@click.option(
    "--count",
    "-n",
    type=Integer(0, 10_000),
    default=10,
    show_default=True,
    help="Number of past events to print.",
)
@click.option(
    "--follow/--no-follow",
    "-f",
    default=True,
    show_default=True,
    help="Print new events as they arrive.",
)
@data_option
def tail(*, count: int, follow: bool, data: Path | None) -> None:
    """Print the newest events, then each new event as it arrives."""
    from backend.events.tail import tail as tail_events

    settings = load(_environment(data), needs=("redis_url",))
    _run(tail_events(settings.redis_url, count=count, follow=follow))


@events.command()
@click.option("--count", is_flag=True, help="Print only their number.")
@data_option
def dead(*, count: bool, data: Path | None) -> None:
    """Print the dead letters, oldest first: events that a consumer failed to handle."""
    from backend.events.dead_letter_commands import print_count, print_dead_letters

    settings = load(_environment(data), needs=("redis_url",))
    _run((print_count if count else print_dead_letters)(settings.redis_url))


@events.command()
@click.argument("letters", nargs=-1, metavar="[LETTER_ID]...")
@click.option("--all", "every", is_flag=True, help="Redrive all dead letters.")
@click.option("--consumer", help="With --all: only those of this consumer.")
@data_option
def redrive(
    letters: tuple[str, ...], *, every: bool, consumer: str | None, data: Path | None
) -> None:
    """Redrive dead letters: only the consumer that failed handles them again."""
    from backend.events.dead_letter_commands import redrive_dead_letters
    from backend.events.dead_letters import DeadLetterError

    if every == bool(letters):
        raise click.UsageError("give ids of dead letters, or --all")
    if consumer is not None and not every:
        raise click.UsageError("--consumer needs --all")
    settings = load(_environment(data), needs=("redis_url",))
    try:
        _run(redrive_dead_letters(settings.redis_url, letters, consumer=consumer))
    except DeadLetterError as error:
        print(f"gittix: {error}", file=sys.stderr)
        sys.exit(1)


def main() -> None:
    """Run the command line. An error that the operator can fix prints a sentence, no traceback."""
    try:
        cli()
    except (SettingsError, InstanceError, NotMigrated) as error:
        print(f"gittix: {error}", file=sys.stderr)
        sys.exit(2)
    finally:
        # Else the interpreter traverses all objects again when it ends, for 60 ms.
        gc.freeze()


def _environment(data: Path | None) -> Mapping[str, str]:
    given = ("DATABASE_URL", "CHECK_DATABASE_URL")
    if data is None and any(os.environ.get(name) for name in given):
        return os.environ
    return environment_of(data or DEFAULT_FOLDER)


def _role_urls(settings: Settings) -> list[str]:
    return [url for role in ROLES if (url := settings.role_database_url(role))]


def _await_migration() -> None:
    from backend.kernel import migrations, schema_version

    urls = _role_urls(load(os.environ))
    if not urls:
        raise SettingsError("DATABASE_URL or a service's own, like ORDERS_DATABASE_URL, is not set")
    asyncio.run(
        schema_version.wait(
            urls,
            migrations.state(migrations.read()),
            seconds=migrations.MIGRATION_SECONDS,
            waiting=lambda why: print(f"waiting: {why}", flush=True),
        )
    )


def _configure_observability(settings: Settings, process: str) -> None:
    """Configure the logs and traces of this process."""
    service = f"gittix-{process}"
    logs.configure(level=settings.log_level, style=settings.log_format, service=service)
    tracing.configure(settings, service=service)


def _run(work: Coroutine[Any, Any, None]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(work)
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            tracing.stop()


if __name__ == "__main__":
    main()
