"""The `gittix` command."""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.embedded.instance import DEFAULT_FOLDER, InstanceError, environment_of
from backend.kernel import logs, tracing
from backend.kernel.schema_version import NotMigrated
from backend.kernel.settings import ROLES, Settings, SettingsError, load
from backend.kernel.shutdown import stop_event

cli = typer.Typer(
    help="GitTix: a real-time marketplace for one-time tickets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
events = typer.Typer(help="The event stream.", no_args_is_help=True)
cli.add_typer(events, name="events")

Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder of an embedded instance; by default the environment's URLs,"
        f" or {DEFAULT_FOLDER}."
    ),
]
Host = Annotated[str, typer.Option(help="Address to listen on.")]


class WorkerPart(StrEnum):
    JOBS = "jobs"
    CONSUMERS = "consumers"
    NOTIFIER = "notifier"


class ServiceName(StrEnum):
    AUTH = "auth"
    TICKETS = "tickets"
    ORDERS = "orders"
    PAYMENTS = "payments"
    PUSH = "push"
    SHOP = "shop"
    API = "api"


@cli.command()
def up(
    port: Annotated[int, typer.Option(help="The API's port.", min=1, max=65_535)] = 8000,
    push_port: Annotated[
        int | None,
        typer.Option(
            help="The push gateway's port.", show_default="8001 if free", min=1, max=65_535
        ),
    ] = None,
    stripe_port: Annotated[
        int | None,
        typer.Option(
            help="The Stripe sandbox's port.", show_default="8002 if free", min=1, max=65_535
        ),
    ] = None,
    data: Annotated[Path, typer.Option(help="Where the instance keeps its data.")] = DEFAULT_FOLDER,
    demo: Annotated[
        bool, typer.Option(help="Load demo shows, and simulate users that hold and buy.")
    ] = True,
    frontend: Annotated[
        bool, typer.Option(help="Build the shop's pages when they changed, and serve them.")
    ] = True,
) -> None:
    """Run everything on this machine: Postgres, Redis, a Stripe sandbox and all services."""
    from backend.embedded.up import run

    raise typer.Exit(
        asyncio.run(
            run(
                port=port,
                push_port=push_port,
                stripe_port=stripe_port,
                folder=data,
                demo=demo,
                frontend=frontend,
            )
        )
    )


@cli.command()
def serve(
    service: ServiceName,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 8000,
) -> None:
    """Serve one service, the shop's pages (`shop`), or all services in one process (`api`)."""
    from backend.bootstrap import serve as serve_app
    from backend.bootstrap import settings_for

    settings = settings_for(service.value, os.environ)
    _configure_observability(settings, service.value)
    _run(serve_app(service.value, settings, host=host, port=port))


@cli.command()
def openapi() -> None:
    """Print the API's OpenAPI document."""
    from backend.bootstrap import ROUTES
    from backend.kernel.openapi import openapi_document

    typer.echo(json.dumps(openapi_document(ROUTES), indent=2))


@cli.command()
def worker(
    part: Annotated[
        WorkerPart | None, typer.Argument(help="Run only this part.", show_default="all three")
    ] = None,
) -> None:
    """Run the jobs, the consumers of the event stream, and the notifier."""
    from backend.kernel import garbage_collection, health
    from workers.main import NEEDS
    from workers.main import worker as running_worker

    parts = [part.value] if part else list(NEEDS)
    settings = load(
        os.environ, needs=tuple(dict.fromkeys(need for one in parts for need in NEEDS[one]))
    )
    _configure_observability(settings, f"worker-{part.value}" if part else "worker")

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
def sandbox(
    ledger: Annotated[Path, typer.Option(help="SQLite file with the sandbox's objects.")],
    webhook_url: Annotated[str, typer.Option(help="URL to which events are posted.")],
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 8002,
) -> None:
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
def migrate(
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Change nothing: wait until the database is migrated. Works as any role."
        ),
    ] = False,
) -> None:
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
def seed(
    shows: Annotated[int, typer.Option(help="Number of shows.", min=1, max=100_000)] = 20,
    tickets: Annotated[
        int, typer.Option(help="Number of tickets in total.", min=1, max=10_000_000)
    ] = 400,
    data: Data = None,
) -> None:
    """Fill a database with shows and tickets."""
    from backend.embedded.demo import seed as seed_database

    settings = load(_environment(data), needs=("database:auth", "database:tickets"))
    asyncio.run(seed_database(settings, shows=shows, tickets=tickets))


@cli.command()
def check(
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Repeat the check; exit with the status of the last one."),
    ] = False,
    every: Annotated[
        float, typer.Option(help="Seconds between two checks.", min=0.1, max=3600)
    ] = 5.0,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Port that serves the last check's metrics.", min=1, max=65_535),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address that serves the metrics.")
    ] = "127.0.0.1",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each check.")
    ] = False,
    data: Data = None,
) -> None:
    """Check the invariants.

    Exit with 0 when all hold, 1 on a violation, 2 when the check cannot run.
    """
    from backend.check import command

    settings = load(_environment(data), needs=("database:check",))
    if not watch:
        raise typer.Exit(asyncio.run(command.run_once(settings, as_json=as_json)))
    watching = command.run_watch(
        settings, every_seconds=every, host=metrics_host, port=metrics_port, as_json=as_json
    )
    raise typer.Exit(asyncio.run(watching))


@cli.command()
def env(data: Data = None) -> None:
    """Print an embedded instance's environment as KEY=value lines."""
    for name, value in environment_of(data or DEFAULT_FOLDER).items():
        print(f"{name}={value}")


@cli.command()
def secrets(
    expand: Annotated[
        bool,
        typer.Option(
            help="Replace each ${NAME} by its value, for a reader that does not expand references."
        ),
    ] = False,
) -> None:
    """Fill the empty secrets of an env file: gittix secrets < .env.example > .env"""
    from backend.embedded.secrets import TemplateError, fill

    if sys.stdin.isatty():
        raise typer.BadParameter(
            "the file is read from standard input: gittix secrets < .env.example > .env"
        )
    try:
        print(fill(sys.stdin.read(), expand=expand), end="")
    except TemplateError as error:
        print(f"gittix: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


@events.command()
def tail(
    count: Annotated[
        int,
        typer.Option("--count", "-n", help="Number of past events to print.", min=0, max=10_000),
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f", help="Print new events as they arrive.")
    ] = True,
    data: Data = None,
) -> None:
    """Print the newest events, then each new event as it arrives."""
    from backend.events.tail import tail as tail_events

    settings = load(_environment(data), needs=("redis_url",))
    _run(tail_events(settings.redis_url, count=count, follow=follow))


@events.command()
def dead(
    count: Annotated[bool, typer.Option("--count", help="Print only their number.")] = False,
    data: Data = None,
) -> None:
    """Print the dead letters, oldest first: events that a consumer failed to handle."""
    from backend.events.dead_letter_commands import print_count, print_dead_letters

    settings = load(_environment(data), needs=("redis_url",))
    _run((print_count if count else print_dead_letters)(settings.redis_url))


@events.command()
def redrive(
    letters: Annotated[
        list[str] | None, typer.Argument(help="Ids of dead letters.", metavar="[LETTER_ID]...")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Redrive all dead letters.")] = False,
    consumer: Annotated[
        str | None, typer.Option(help="With --all: only those of this consumer.")
    ] = None,
    data: Data = None,
) -> None:
    """Redrive dead letters: only the consumer that failed handles them again."""
    from backend.events.dead_letter_commands import redrive_dead_letters
    from backend.events.dead_letters import DeadLetterError

    if every == bool(letters):
        raise typer.BadParameter("give ids of dead letters, or --all")
    if consumer is not None and not every:
        raise typer.BadParameter("--consumer needs --all")
    settings = load(_environment(data), needs=("redis_url",))
    try:
        _run(redrive_dead_letters(settings.redis_url, letters or [], consumer=consumer))
    except DeadLetterError as error:
        print(f"gittix: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


def main() -> None:
    """Run the command line. An error that the operator can fix prints a sentence, no traceback."""
    try:
        cli()
    except (SettingsError, InstanceError, NotMigrated) as error:
        print(f"gittix: {error}", file=sys.stderr)
        sys.exit(2)


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
