"""Bad requests to every route return a 4xx problem with its code and change no row."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from backend.embedded.postgres import Postgres
from backend.kernel.openapi import openapi_document
from tests import factories, stores
from tests.bad_input.any_route import ANY_ROUTE, PROTECTED, WITH_ID
from tests.bad_input.definitions import NOWHERE, WRITES, BadRequest
from tests.bad_input.fields import FIELDS
from tests.bad_input.queries import QUERIES
from tests.replies import code
from tests.system import Person, System
from tests.test_openapi import app_of, operations

BAD = FIELDS | ANY_ROUTE | QUERIES


class Market(NamedTuple):
    """A system with a show, a ticket of the caller, and another user's order."""

    system: System
    me: Person
    owner: Any
    ids: dict[str, str]
    tally: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market(
    postgres: Postgres, redis_socket: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Market]:
    """One for all requests of this module, since none may change it."""
    async with stores.fresh_system(
        postgres, redis_socket, tmp_path_factory.mktemp("bad-input")
    ) as system:
        await system.start("api")
        me, stranger = system.person("me"), system.person("stranger")
        show = await factories.show(me)
        mine = await factories.ticket(me, show["id"])
        foreign = await factories.ticket(stranger, show["id"])
        order = await factories.order(system.person("buyer"), foreign["id"])
        owner = await system.connect()
        tables = await owner.fetch(
            "select oid::regclass::text as name from pg_class"
            " where relkind = 'r' and relnamespace::regnamespace::text"
            " in ('auth', 'tickets', 'orders', 'payments', 'push', 'events')"
        )
        count = "select " + ", ".join(
            f"(select count(*) || '/' || coalesce(max(xmin::text::bigint), 0) from {table['name']})"
            for table in tables
        )
        yield Market(
            system,
            me,
            owner,
            {"show": show["id"], "ticket": mine["id"], "order": order["id"]},
            count,
        )


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", BAD)
async def test_a_bad_request_is_refused_and_changes_nothing(case: str, market: Market) -> None:
    bad = BAD[case]
    before = await market.owner.fetchrow(market.tally)
    reply = await send(market, bad)
    assert code(reply) == bad.refusal, reply.text
    assert reply.headers["x-request-id"]
    assert "Traceback" not in reply.text
    assert "Expected" not in reply.text
    assert "`" not in reply.text
    assert await market.owner.fetchrow(market.tally) == before


async def test_every_route_is_in_the_lists_of_bad_requests(system: System) -> None:
    routes = {
        (method.upper(), path): operation
        for method, path, operation in operations(openapi_document(app_of(system).routes))
    }
    assert {route for route in routes if "{id}" in route[1]} == {
        (method, path) for method, path, _, _ in WITH_ID
    }
    protected = {route for route, operation in routes.items() if operation["security"]}
    assert protected - {(method, template(path)) for method, path in PROTECTED} == set()
    assert {
        route
        for route, operation in routes.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    } == {(method, template(path)) for method, path, _ in WRITES.values()}


def template(path: str) -> str:
    """The path as its route declares it."""
    return re.sub(rf"\{{\w+\}}|{NOWHERE}", "{id}", path.partition("?")[0])


async def send(market: Market, bad: BadRequest) -> httpx.Response:
    content = bad.body if isinstance(bad.body, bytes) else None
    if bad.body is not None and content is None:
        content = json.dumps(bad.body).encode()
    for name, made in market.ids.items():
        content = content and content.replace(f"{{{name}}}".encode(), made.encode())
    path = bad.path.format(**market.ids) if "%" not in bad.path else bad.path
    headers = {"Content-Type": "application/json"} | bad.headers
    client = market.me.http if bad.signed_in else market.system.anonymous()
    return await client.request(
        bad.method,
        path,
        content=content,
        headers=[(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    )
