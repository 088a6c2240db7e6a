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
from backend.kernel.settings import NOUNS as ROLES
from backend.kernel.settings import Settings, SettingsError, load
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
        help=f"Folder of an embedded instance. Default: the URLs of the environment, else {DEFAULT_FOLDER}."
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
        bool, typer.Option(help="Load demo shows and let a gentle crowd hold and buy.")
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
    """Serve one service, or the `shop`'s pages, or `api`: all of them in one process."""
    from backend.bootstrap import serve as serve_app
    from backend.bootstrap import settings_for

    settings = settings_for(service.value, os.environ)
    _tell(settings, service.value)
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
        WorkerPart | None, typer.Argument(help="Only this part.", show_default="all three")
    ] = None,
) -> None:
    """Run arq's jobs, the event stream's consumers, and the notifier that tells browsers."""
    from backend.kernel import garbage_collection, health
    from workers.main import NEEDS
    from workers.main import worker as running_worker

    parts = [part.value] if part else list(NEEDS)
    settings = load(
        os.environ, needs=tuple(dict.fromkeys(need for one in parts for need in NEEDS[one]))
    )
    _tell(settings, f"worker-{part.value}" if part else "worker")

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
    _tell(settings, "relay")

    async def work() -> None:
        garbage_collection.tune(settings)
        redis = open_redis(settings.redis_url, name="gittix-relay")
        publisher = Relay(settings.noun_database_url("relay"), redis)
        try:
            with stop_event() as stop:
                async with health.served(settings) as readiness, running(("relay", publisher.run)):
                    with readiness.checking(publisher.checks()):
                        await stop.wait()
        finally:
            await redis.aclose()

    _run(work())


@cli.command()
def sandbox(
    ledger: Annotated[Path, typer.Option(help="The SQLite file that it keeps its objects in.")],
    webhook_url: Annotated[str, typer.Option(help="Where its events are posted to.")],
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 8002,
) -> None:
    """Run the Stripe sandbox: Stripe's API over HTTP for demo and tests, no money involved."""
    from backend.bootstrap import http_config
    from backend.kernel.server import Server
    from backend.stripe_sandbox.app import SandboxSettings, build

    settings = load(os.environ, needs=("stripe_api_key", "stripe_webhook_secrets"))
    _tell(settings, "stripe-sandbox")
    try:
        told = SandboxSettings(
            database=ledger,
            api_key=settings.stripe_api_key,
            webhook_url=webhook_url,
            webhook_secret=settings.webhook_secrets[0],
            public_url=settings.stripe_sandbox_url or None,
        )
    except ValueError as fault:
        raise SettingsError(f"STRIPE_API_KEY: {fault}") from fault
    server = Server(
        http_config(build(told), host, port), delay_seconds=settings.shutdown_delay_seconds
    )
    _run(server.serve())


@cli.command()
def migrate(
    wait: Annotated[
        bool, typer.Option("--wait", help="Change nothing: wait until it was done, as any role.")
    ] = False,
) -> None:
    """Bring the database to the newest version."""
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
    shows: Annotated[int, typer.Option(help="How many shows.", min=1, max=100_000)] = 20,
    tickets: Annotated[
        int, typer.Option(help="How many tickets in all.", min=1, max=10_000_000)
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
    """Check the invariants. Exit with 0 when all hold, 1 on a violation, 2 when the check cannot run."""
    from backend.check import command

    settings = load(_environment(data), needs=("database_url",))
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
            help="Write each ${NAME} of one out, for a reader that knows no such references."
        ),
    ] = False,
) -> None:
    """Fill an env file's empty secrets with new ones: gittix secrets < .env.example > .env"""
    from backend.embedded.secrets import TemplateError, fill

    if sys.stdin.isatty():
        raise typer.BadParameter(
            "the file to fill comes by standard input: gittix secrets < .env.example > .env"
        )
    try:
        print(fill(sys.stdin.read(), expand=expand), end="")
    except TemplateError as fault:
        print(f"gittix: {fault}", file=sys.stderr)
        raise typer.Exit(1) from fault


@events.command()
def tail(
    count: Annotated[
        int, typer.Option("--count", "-n", help="Events to show first.", min=0, max=10_000)
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f", help="Go on with new ones.")
    ] = True,
    data: Data = None,
) -> None:
    """Show the newest events, and then each as it comes."""
    from backend.events.tail import tail as tail_events

    settings = load(_environment(data), needs=("redis_url",))
    _run(tail_events(settings.redis_url, count=count, follow=follow))


@events.command()
def dead(
    count: Annotated[bool, typer.Option("--count", help="Only say how many there are.")] = False,
    data: Data = None,
) -> None:
    """Show the dead letters: events that a consumer gave up, oldest first, the letter's id in front."""
    from backend.events.dead_letter_commands import print_count, print_dead_letters

    settings = load(_environment(data), needs=("redis_url",))
    _run((print_count if count else print_dead_letters)(settings.redis_url))


@events.command()
def redrive(
    letters: Annotated[
        list[str] | None, typer.Argument(help="Ids of dead letters.", metavar="[LETTER_ID]...")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All letters.")] = False,
    consumer: Annotated[str | None, typer.Option(help="With --all: only this consumer's.")] = None,
    data: Data = None,
) -> None:
    """Send dead letters back to the consumer that gave them up, and to nobody else."""
    from backend.events.dead_letter_commands import redrive_dead_letters
    from backend.events.dead_letters import DeadLetterError

    if every == bool(letters):
        raise typer.BadParameter("name letters, or say --all")
    if consumer is not None and not every:
        raise typer.BadParameter("--consumer goes with --all")
    settings = load(_environment(data), needs=("redis_url",))
    try:
        _run(redrive_dead_letters(settings.redis_url, letters or [], consumer=consumer))
    except DeadLetterError as fault:
        print(f"gittix: {fault}", file=sys.stderr)
        raise typer.Exit(1) from fault


def main() -> None:
    """The console script: a fault that a person can mend is a sentence, not a traceback."""
    try:
        cli()
    except (SettingsError, InstanceError, NotMigrated) as fault:
        print(f"gittix: {fault}", file=sys.stderr)
        sys.exit(2)


def _environment(data: Path | None) -> Mapping[str, str]:
    if data is None and os.environ.get("DATABASE_URL"):
        return os.environ
    return environment_of(data or DEFAULT_FOLDER)


def _role_urls(settings: Settings) -> list[str]:
    return [url for role in ROLES if (url := settings.noun_database_url(role))]


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


def _tell(settings: Settings, process: str) -> None:
    """Let this process say, by logs and traces, what it does."""
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
