"""One click is one trace over all processes; an unreachable collector delays no request."""

import gzip
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend import bootstrap
from backend.embedded.postgres import Postgres
from loadtests.ports import free_port
from tests import factories
from tests.deploy.fleet import Fleet, running
from tests.factories import Json
from tests.stores import fresh_system
from tests.system import Person, served, until

pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]


WAY = {
    "gittix-orders": {"POST /api/orders", "postgres statements"},
    "gittix-payments": {
        "POST /api/payments",
        "postgres transaction",
        "stripe confirm",
    },
    "gittix-relay": {"relay order.created", "relay ticket.sold"},
    "gittix-worker": {"consumer expiration order.created", "notifier ticket.sold"},
    "gittix-push": {"gateway ticket.sold"},
}


class Seen(NamedTuple):
    service: str
    name: str
    trace_id: bytes
    text: str


class Collector:
    """The spans that an OTLP receiver got over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []

    async def receive(self, request: Request) -> Response:
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {each.key: each.value.string_value for each in sent.resource.attributes}
            self.spans += [
                Seen(named["service.name"], span.name, span.trace_id, str(span))
                for scope in sent.scope_spans
                for span in scope.spans
            ]
        return Response(
            ExportTraceServiceResponse().SerializeToString(), media_type="application/x-protobuf"
        )

    def trace(self, trace_id: UUID) -> dict[str, set[str]]:
        """The names of a trace's spans for each service."""
        found: dict[str, set[str]] = {}
        for span in self.spans:
            if span.trace_id == trace_id.bytes:
                found.setdefault(span.service, set()).add(span.name)
        return found


@asynccontextmanager
async def collecting(port: int) -> AsyncIterator[Collector]:
    collector = Collector()
    app = Starlette(routes=[Route("/v1/traces", collector.receive, methods=["POST"])])
    async with served(uvicorn.Server(bootstrap.http_config(app, "127.0.0.1", port))):
        yield collector


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def traced(
    postgres: Postgres, redis_socket: str, folder: Path
) -> AsyncIterator[tuple[Fleet, int]]:
    place = folder / "traces"
    place.mkdir()
    port = free_port()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    async with (
        fresh_system(postgres, redis_socket, place) as system,
        running(system, replicas=1, environment=environment) as (fleet, _),
    ):
        yield fleet, port


async def test_an_order_is_one_trace_over_all_processes(traced: tuple[Fleet, int]) -> None:
    fleet, port = traced
    click = uuid4()
    async with collecting(port) as collector:
        buyer = fleet.system.person("buyer")
        await buys(buyer, await factories.ticket(fleet.system.person("seller")), click)
        await until(lambda: whole(collector, click), seconds=20)
    # No user input and no secret.
    for value in (buyer.token, str(buyer.id), "pm_card_visa"):
        assert not any(value in span.text for span in collector.spans)


async def test_an_unreachable_collector_delays_no_request(traced: tuple[Fleet, int]) -> None:
    fleet, _ = traced
    buyer, seller = fleet.system.person("buyer"), fleet.system.person("seller")
    for _ in range(3):
        await buys(buyer, await factories.ticket(seller), uuid4())
    began = time.monotonic()
    assert await fleet.restart(fleet.services["orders"][0]) == 0
    assert time.monotonic() - began < 15


async def buys(buyer: Person, ticket: Json, click: UUID) -> None:
    headers = {"X-Request-Id": str(click)}
    ordered = await buyer.http.post(
        "/api/orders", json={"ticket_id": ticket["id"]}, headers=headers
    )
    assert ordered.status_code == 201, ordered.text
    body = {"order_id": ordered.json()["id"], "payment_method": "pm_card_visa"}
    paid = await buyer.http.post("/api/payments", json=body, headers=headers)
    assert paid.status_code == 201, paid.text


async def whole(collector: Collector, click: UUID) -> bool:
    """Whether the trace has every expected span."""
    found = collector.trace(click)
    return all(names <= found.get(service, set()) for service, names in WAY.items())
