"""Idempotency-Key: a repeated request gets the first reply, byte for byte, and has one effect."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal
from uuid import uuid4

import asyncpg
import httpx
import pytest

from backend.kernel.idempotency import KeyTable
from tests import factories
from tests.factories import Json
from tests.replies import code
from tests.system import Person, System

Request = tuple[str, Json]


async def show_request(_system: System) -> Request:
    return "/api/shows", {
        "title": "Hamlet",
        "venue": "Hall",
        "city": "Delft",
        "starts_at": "2030-01-01T20:00:00Z",
        "timezone": "UTC",
    }


async def ticket_request(system: System) -> Request:
    show = await factories.show(system.person("owner"))
    return "/api/tickets", {"show_id": show["id"], "price": 100, "currency": "EUR"}


async def order_request(system: System) -> Request:
    ticket = await factories.ticket(system.person("seller"))
    return "/api/orders", {"ticket_id": ticket["id"]}


requests = pytest.mark.parametrize("request_of", [show_request, ticket_request, order_request])
RequestOf = Callable[[System], Awaitable[Request]]


async def keyed(person: Person, request: Request, key: str) -> httpx.Response:
    path, body = request
    return await person.post(path, body, key=key)


async def written(owner: Any) -> tuple[int, ...]:
    row = await owner.fetchrow(
        "select (select count(*) from tickets.shows), (select count(*) from tickets.tickets),"
        " (select count(*) from orders.orders), (select count(*) from events.outbox)"
    )
    return tuple(row)


@requests
async def test_a_repeat_gets_the_same_bytes_and_writes_nothing(
    request_of: RequestOf, system: System
) -> None:
    await system.start("api")
    person, request = system.person(), await request_of(system)
    owner = await system.connect()
    first = await keyed(person, request, "once")
    assert first.status_code == 201
    assert "idempotent-replayed" not in first.headers
    before = await written(owner)
    again = await keyed(person, request, "once")
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    for name in ("content-type", "location", "etag"):
        assert again.headers.get(name) == first.headers.get(name)
    assert await written(owner) == before


@requests
async def test_a_key_belongs_to_one_request(request_of: RequestOf, system: System) -> None:
    await system.start("api")
    person, (path, body) = system.person(), await request_of(system)
    await keyed(person, (path, body), "once")
    other = body | (
        {"title": "Othello"}
        if path == "/api/shows"
        else {"price": 200}
        if "price" in body
        else {"ticket_id": str(uuid4())}
    )
    owner = await system.connect()
    before = await written(owner)
    assert code(await keyed(person, (path, other), "once")) == (422, "idempotency_key_reused")
    assert await written(owner) == before


@requests
async def test_a_key_is_a_users_own(request_of: RequestOf, system: System) -> None:
    await system.start("api")
    request = await request_of(system)
    first = await keyed(system.person("one"), request, "same")
    second = await keyed(system.person("two"), request, "same")
    assert first.status_code == 201
    assert "idempotent-replayed" not in second.headers
    assert second.content != first.content
    if request[0] == "/api/orders":
        assert code(second) == (409, "ticket_unavailable")
    else:
        assert second.status_code == 201


async def test_other_keys_are_other_requests(system: System) -> None:
    await system.start("api")
    person, request = system.person(), await show_request(system)
    made = {(await keyed(person, request, key)).json()["id"] for key in ("a", "b", "A", "a b")}
    made |= {(await person.post(*request)).json()["id"] for _ in range(2)}
    assert len(made) == 6


@requests
async def test_a_repeat_during_the_first_gets_a_conflict_with_retry_after(
    request_of: RequestOf, system: System
) -> None:
    await system.start("api")
    person, request = system.person(), await request_of(system)
    schema: Literal["orders", "tickets"] = "orders" if request[0] == "/api/orders" else "tickets"
    rival = await system.connect()
    async with rival.transaction():
        await rival.execute(
            "select pg_advisory_xact_lock(hashtextextended($1, 0))", f"{schema}:{person.id}:busy"
        )
        waiting = await keyed(person, request, "busy")
        assert code(waiting) == (409, "idempotency_key_in_flight")
        assert int(waiting.headers["retry-after"]) >= 1
    assert (await keyed(person, request, "busy")).status_code == 201


async def test_parallel_requests_with_one_key_make_one_order(system: System) -> None:
    await system.start("api")
    person, request = system.person(), await order_request(system)
    replies = await asyncio.gather(*(keyed(person, request, "once") for _ in range(8)))
    made = {reply.content for reply in replies if reply.status_code == 201}
    assert len(made) == 1
    assert {code(reply) for reply in replies if reply.status_code != 201} <= {
        (409, "idempotency_key_in_flight")
    }
    owner = await system.connect()
    assert await owner.fetchval("select count(*) from orders.orders") == 1


async def test_a_conflict_is_not_remembered(system: System) -> None:
    await system.start("api")
    person, first = system.person("second"), system.person("first")
    path, body = await order_request(system)
    order = (await first.post(path, body)).json()
    assert code(await keyed(person, (path, body), "try")) == (409, "ticket_unavailable")
    await first.delete(f"/api/orders/{order['id']}")
    assert (await keyed(person, (path, body), "try")).status_code == 201


async def test_a_tickets_conflict_is_not_remembered_and_a_refusal_is(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller)
    order = await factories.order(buyer, ticket["id"])
    path = f"/api/tickets/{ticket['id']}"
    assert code(await seller.delete(path, key="gone")) == (409, "ticket_taken")
    forbidden = await buyer.delete(path, key="mine")
    assert code(forbidden) == (403, "not_your_ticket")
    await buyer.delete(f"/api/orders/{order['id']}")
    assert (await seller.delete(path, key="gone")).status_code == 204
    again = await seller.delete(path, key="gone")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (204, "true")
    repeated = await buyer.delete(path, key="mine")
    assert (code(repeated), repeated.content) == (code(forbidden), forbidden.content)
    assert repeated.headers["idempotent-replayed"] == "true"


async def test_an_order_is_cancelled_once_by_a_key(system: System) -> None:
    await system.start("api")
    person, request = system.person(), await order_request(system)
    order = (await keyed(person, request, "place")).json()
    path = f"/api/orders/{order['id']}"
    assert (await person.delete(path, key="cancel")).status_code == 204
    again = await person.delete(path, key="cancel")
    assert (again.status_code, again.content, again.headers["idempotent-replayed"]) == (
        204,
        b"",
        "true",
    )
    assert code(await person.delete(path, key="place")) == (422, "idempotency_key_reused")


async def test_nothing_is_stuck_after_a_request_that_failed(system: System) -> None:
    await system.start("api")
    person = system.person()
    owner = await system.connect()
    for request_of, block, unblock in (
        (
            ticket_request,
            "add constraint none check (type <> 'ticket.listed') not valid",
            "drop constraint none",
        ),
        (
            order_request,
            "add constraint none check (type <> 'order.created') not valid",
            "drop constraint none",
        ),
    ):
        request = await request_of(system)
        await owner.execute(f"alter table events.outbox {block}")
        before = await written(owner)
        assert code(await keyed(person, request, f"try {request[0]}")) == (500, "internal_error")
        assert await written(owner) == before
        await owner.execute(f"alter table events.outbox {unblock}")
        retried = await keyed(person, request, f"try {request[0]}")
        assert retried.status_code == 201
        assert "idempotent-replayed" not in retried.headers


async def test_a_refusal_of_an_order_that_will_not_change_is_remembered(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    euro, dollar = await factories.ticket(seller), await factories.ticket(seller, currency="USD")
    mixed = ("/api/orders", {"ticket_ids": [euro["id"], dollar["id"]]})
    first = await keyed(buyer, mixed, "cart")
    assert code(first) == (422, "mixed_currency")
    assert (
        await seller.put(f"/api/tickets/{dollar['id']}", {"currency": "EUR"})
    ).status_code == 200
    again = await keyed(buyer, mixed, "cart")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotent-replayed"] == "true"
    missing = ("/api/orders", {"ticket_id": str(uuid4())})
    refusals = [await keyed(buyer, missing, "missing") for _ in range(2)]
    assert [code(reply) for reply in refusals] == [(404, "ticket_not_found")] * 2
    assert refusals[1].headers["idempotent-replayed"] == "true"
    assert (await keyed(buyer, mixed, "another cart")).status_code == 201


async def test_an_order_is_one_round_trip_key_and_limits_included(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.start("api")
    person = system.person()
    await keyed(person, await order_request(system), "the statement is prepared by the first")
    request = await order_request(system)
    asked: list[str] = []
    real = vars(asyncpg.Connection)["_do_execute"]

    async def counted(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        asked.append(query)
        return await real(self, query, *arguments, **options)

    monkeypatch.setattr(asyncpg.Connection, "_do_execute", counted)
    assert (await keyed(person, request, "second")).status_code == 201
    assert len(asked) == 1


@requests
async def test_a_key_lives_a_day(request_of: RequestOf, system: System) -> None:
    await system.start("api")
    person, request = system.person(), await request_of(system)
    schema: Literal["orders", "tickets"] = "orders" if request[0] == "/api/orders" else "tickets"
    owner = await system.connect()
    first = await keyed(person, request, "again")
    worker, keys = await system.connect(schema), KeyTable(schema)
    await owner.execute(
        f"update {schema}.idempotency_keys set created_at = now() - interval '23 hours'"
    )
    assert await keys.purge(worker) == 0
    assert (await keyed(person, request, "again")).content == first.content
    await owner.execute(
        f"update {schema}.idempotency_keys set created_at = now() - interval '25 hours'"
    )
    assert await keys.purge(worker) == 1
    assert "idempotent-replayed" not in (await keyed(person, request, "again")).headers


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "caf\u00e9 \u0085"])
async def test_an_unusable_key_is_refused(key: str, system: System) -> None:
    await system.start("api")
    person = system.person()
    for path in ("/api/shows", "/api/tickets", "/api/orders"):
        body = (
            (await show_request(system))[1] if path == "/api/shows" else {"ticket_id": str(uuid4())}
        )
        if path == "/api/tickets":
            body = {"show_id": str(uuid4()), "price": 1, "currency": "EUR"}
        reply = await person.http.post(
            path, json=body, headers=[(b"Idempotency-Key", key.encode("latin-1"))]
        )
        assert code(reply) == (422, "bad_idempotency_key")
