"""While Postgres or Redis is unavailable, the reply is a 503 with Retry-After and no internals."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import redis.exceptions
from asyncpg.exceptions._base import DataError as UnencodableError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.kernel import database
from backend.kernel.web import Component, ComponentState, build
from tests import factories
from tests.replies import code
from tests.system import System


def check(reply: httpx.Response) -> None:
    assert code(reply) == (503, "temporarily_unavailable")
    assert int(reply.headers["retry-after"]) >= 1
    assert "postgres" not in reply.text.lower()


async def test_an_exhausted_pool_is_a_503_until_it_has_room(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.configure(DATABASE_POOL_SIZE="1")
    await system.start("api")
    # Pools connect on first use, which the limit does not include.
    assert (await system.anonymous().get("/readyz")).status_code == 200
    monkeypatch.setattr(database, "ACQUIRE_SECONDS", 0.2)
    person = system.person()
    ticket = await factories.ticket(system.person("seller"))
    rival = await system.connect()
    async with rival.transaction():
        # A request waits for this row and holds the only connection.
        await rival.execute("select 1 from tickets.tickets for update")
        slow = asyncio.create_task(person.delete(f"/api/tickets/{ticket['id']}"))
        await asyncio.sleep(0.1)
        check(await person.get("/api/tickets"))
        assert (await system.anonymous().get("/healthz")).status_code == 200
        ready = await system.anonymous().get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    assert code(await slow) == (403, "not_your_ticket")
    assert (await person.get("/api/tickets")).status_code == 200


async def test_a_database_that_closes_connections_is_a_503_until_it_is_back(system: System) -> None:
    await system.start("api")
    person = system.person()
    owner = await system.connect()
    name = await owner.fetchval("select current_database()")
    ticket = await factories.ticket(system.person("seller"))
    # The setting applies to every role but the owner.
    await owner.execute(f"alter database {name} connection limit 0")
    await owner.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = $1 and application_name like 'gittix-%'",
        name,
    )
    for reply in (
        await person.get("/api/tickets"),
        await person.post("/api/orders", {"ticket_id": ticket["id"]}, key="k"),
        await person.get(f"/api/shows/{uuid4()}"),
        await person.delete(f"/api/tickets/{ticket['id']}"),
    ):
        check(reply)
    await owner.execute(f"alter database {name} connection limit -1")
    assert (await person.get("/api/tickets")).status_code == 200
    assert (
        await person.post("/api/orders", {"ticket_id": ticket["id"]}, key="k")
    ).status_code == 201


FAULTS: list[Callable[[], Exception]] = [
    *(
        lambda kind=kind: kind("postgres")
        for kind in database.UNAVAILABLE
        if kind is not asyncpg.InterfaceError
    ),
    lambda: asyncpg.InterfaceError("postgres: connection is closed"),
    lambda: asyncpg.ConnectionDoesNotExistError("postgres"),
    lambda: FileNotFoundError("postgres: no such socket"),
    lambda: ConnectionRefusedError("postgres"),
    lambda: TimeoutError("postgres"),
    lambda: redis.exceptions.ConnectionError("postgres"),
    lambda: redis.exceptions.TimeoutError("postgres"),
]


@asynccontextmanager
async def nothing() -> AsyncIterator[ComponentState]:
    yield ComponentState(None, {})


async def answer_to(fault: Exception) -> httpx.Response:
    async def endpoint(_request: Request) -> Response:
        raise fault

    app = build(
        [Component("x", [Route("/x", endpoint, include_in_schema=False)], nothing)], verifier=None
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://api.test"
    ) as client:
        return await client.get("/x")


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_connection_error_is_a_503(fault: Callable[[], Exception]) -> None:
    check(await answer_to(fault()))


@pytest.mark.parametrize(
    "fault",
    [asyncpg.DataError("x"), UnencodableError("x"), asyncpg.NumericValueOutOfRangeError("x")],
)
async def test_a_value_that_cannot_be_stored_is_a_422(fault: Any) -> None:
    assert code(await answer_to(fault)) == (422, "invalid_input")


async def test_an_unknown_error_is_a_500() -> None:
    assert code(await answer_to(asyncpg.UndefinedTableError("secret"))) == (500, "internal_error")
