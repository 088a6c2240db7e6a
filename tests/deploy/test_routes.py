"""The route of each request, its headers, and unrouted requests. The services are echoes."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.deploy.echo import NO_REPLY, UPGRADED, Echo, fronted
from tests.deploy.nginx import Nginx, ingress
from tests.deploy.wire import WEBSOCKET, exchange
from tests.replies import code

pytestmark = pytest.mark.asyncio(loop_scope="module")

Front = tuple[Nginx, Mapping[str, Echo]]
ID = "01a202f6-3f8a-7354-8930-03cbe1244a4f"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def front(folder: Path) -> AsyncIterator[Front]:
    async with fronted(folder) as found:
        yield found


@pytest.fixture(autouse=True)
def emptied(front: Front) -> None:
    for echo in front[1].values():
        echo.seen.clear()


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/api/users/currentuser", "auth"),
        ("/api/users/signin", "auth"),
        ("/api/shows", "tickets"),
        (f"/api/shows/{ID}/tickets", "tickets"),
        ("/api/tickets?limit=3&q=%C3%A9%2F", "tickets"),
        ("/api/orders", "orders"),
        (f"/api/orders/{ID}", "orders"),
        ("/api/sales/summary", "orders"),
        (f"/api/orders/{ID}/refund", "payments"),
        ("/api/payments", "payments"),
        ("/api/payments/webhook", "payments"),
        ("/api/push/auth", "push"),
        ("/app/key?protocol=7", "push"),
        ("/sandbox/3ds/pi_1", "sandbox"),
        ("/sandbox/payment_intents/pi_1/authenticate", "sandbox"),
        ("/api/docs", "frontend"),
        ("/api/openapi.json", "frontend"),
        ("/", "frontend"),
        ("/shows/a%20b?x=1", "frontend"),
        ("/apianist", "frontend"),
    ],
)
async def test_each_path_reaches_its_service_unchanged(
    front: Front, path: str, service: str
) -> None:
    nginx, echoes = front
    async with nginx.client() as client:
        assert (await client.get(path)).status_code == 200
    assert [(name, seen.target) for name, echo in echoes.items() for seen in echo.seen] == [
        (service, path)
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/readyz",
        "//metrics",
        "/%6Detrics",
        "/shows/../metrics",
        "/api",
        "/api/other",
        "/api/showsx",
        "/apps/1/events",
        "/users/1/terminate_connections",
        "/sandbox/ledger",
        "/sandbox/payment_intents/pi_1/expire",
        "/problem/502",
    ],
)
async def test_paths_that_are_not_public_are_404(front: Front, path: str) -> None:
    nginx, echoes = front
    reply = await exchange(
        nginx, f"GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
    )
    assert reply.startswith("HTTP/1.1 404 "), reply
    assert json.loads(reply.rpartition("\r\n\r\n")[2])["code"] == "not_found"
    assert not any(echo.seen for echo in echoes.values())


async def test_healthz_is_the_ingress_own_and_status_is_not_public(front: Front) -> None:
    nginx, echoes = front
    async with nginx.client() as client:
        assert (await client.get("/healthz")).text == "ok\n"
        assert (await client.get(f"{nginx.status_url}/healthz")).text == "ok\n"
        assert "Active connections" in (await client.get(f"{nginx.status_url}/status")).text
        assert "Active connections" not in (await client.get("/status")).text
    assert [seen.target for seen in echoes["frontend"].seen] == ["/status"]


async def test_a_clients_address_headers_are_replaced(front: Front) -> None:
    nginx, echoes = front
    claims = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9;proto=https",
    }
    async with nginx.client(headers=claims) as client:
        await client.get("/api/shows")
    (seen,) = echoes["tickets"].seen
    assert seen.client() == "127.0.0.1"
    assert seen.values("x-forwarded-for") == ["127.0.0.1"]
    assert seen.values("x-forwarded-proto") == ["http"]
    for name in ("x-forwarded-host", "x-real-ip", "forwarded"):
        assert seen.values(name) == []
    assert nginx.access_log()[-1]["client"] == "127.0.0.1"


async def test_a_trusted_proxy_sets_the_client_address(folder: Path) -> None:
    async with fronted(folder, TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8") as (nginx, echoes):
        # The client sent the first; the trusted proxy in front appended the second.
        claims = {
            "X-Forwarded-For": "198.51.100.1, 203.0.113.9, 10.1.2.3",
            "X-Forwarded-Proto": "https",
        }
        async with nginx.client(headers=claims) as client:
            reply = await client.get("/api/shows")
    (seen,) = echoes["tickets"].seen
    assert seen.client() == "203.0.113.9"
    assert seen.values("x-forwarded-proto") == ["https"]
    assert nginx.access_log()[-1]["client"] == "203.0.113.9"
    assert reply.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"


async def test_a_request_keeps_its_correlation_id_if_it_is_a_uuid(front: Front) -> None:
    nginx, echoes = front
    chosen = str(uuid4())
    async with nginx.client() as client:
        replies = [
            await client.get("/api/shows", headers={"X-Request-Id": given})
            for given in (chosen, chosen.upper(), chosen.replace("-", ""), f'{chosen}"', "1")
        ]
        replies.append(await client.get("/api/shows"))
    returned = [reply.headers.get_list("x-request-id") for reply in replies]
    passed = [seen.values("x-request-id") for seen in echoes["tickets"].seen]
    assert returned == passed
    ids = [values[0] for values in returned]
    assert ids[0] == chosen
    assert len(set(ids)) == len(ids)
    lines = nginx.access_log()[-len(ids) :]
    assert [line["correlation_id"] for line in lines] == ids
    # The log separates the id that a client chose from the id of nginx.
    assert all(chosen.replace("-", "") != line["request_id"] for line in lines)


async def test_only_websocket_requests_are_upgraded(front: Front) -> None:
    nginx, echoes = front
    echoes["push"].answer = UPGRADED
    reply = await exchange(nginx, f"GET /app/key HTTP/1.1\r\n{WEBSOCKET}", until="\r\n\r\n")
    echoes["push"].answer = Echo().answer
    assert reply.startswith("HTTP/1.1 101 ")
    (seen,) = echoes["push"].seen
    assert (seen.values("connection"), seen.values("upgrade")) == (["upgrade"], ["websocket"])
    await exchange(nginx, f"GET /api/shows HTTP/1.1\r\n{WEBSOCKET}", until="{}")
    (seen,) = echoes["tickets"].seen
    assert (seen.values("connection"), seen.values("upgrade")) == ([], [])


async def test_the_body_of_a_webhook_arrives_byte_for_byte(front: Front) -> None:
    nginx, echoes = front
    body = b'{"id": "evt_1",\r\n\t"text": "\xe2\x82\xac \\u20ac" }\n' * 3_000
    async with nginx.client() as client:
        headers = {
            "Stripe-Signature": "t=1,v1=abc",
            "Content-Type": "application/json; charset=utf-8",
        }
        reply = await client.post("/api/payments/webhook", content=body, headers=headers)
    assert reply.status_code == 200
    (seen,) = echoes["payments"].seen
    assert seen.body == body
    assert seen.values("stripe-signature") == ["t=1,v1=abc"]
    assert seen.values("content-length") == [str(len(body))]


@pytest.mark.parametrize(
    ("path", "kilobytes"),
    [
        ("/api/orders", 256),
        ("/api/payments/webhook", 256),
        ("/api/users/signin", 16),
        ("/api/push/auth", 16),
        ("/", 1),
    ],
)
async def test_bodies_have_the_limit_of_their_path(front: Front, path: str, kilobytes: int) -> None:
    nginx, echoes = front
    async with nginx.client() as client:
        assert (await client.post(path, content=b"x" * kilobytes * 1024)).status_code == 200
        reply = await client.post(path, content=b"x" * (kilobytes * 1024 + 1))
    assert code(reply) == (413, "body_too_large")
    assert sum(len(echo.seen) for echo in echoes.values()) == 1


async def test_an_unreachable_service_is_a_502_problem(front: Front) -> None:
    nginx, echoes = front
    echoes["orders"].answer = NO_REPLY
    async with nginx.client() as client:
        reply = await client.post("/api/orders", json={})
    echoes["orders"].answer = Echo().answer
    assert code(reply) == (502, "temporarily_unavailable")
    assert reply.headers["retry-after"] == "1"
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "requests"),
    [("GET", 2), ("HEAD", 2), ("DELETE", 2), ("POST", 1), ("PUT", 1), ("PATCH", 1)],
)
async def test_a_write_that_may_have_happened_is_not_repeated(
    folder: Path, front: Front, method: str, requests: int
) -> None:
    nginx, echoes = front
    first, second = echoes["tickets"], echoes["orders"]
    upstreams = {name: echo.address for name, echo in echoes.items()} | {
        "tickets": f"{first.address} {second.address}"
    }
    first.answer = second.answer = NO_REPLY
    try:
        async with ingress(folder, upstreams) as nginx, nginx.client() as client:
            body = b"{}" if method.startswith("P") else None
            reply = await client.request(method, f"/api/shows/{ID}", content=body)
    finally:
        first.answer = second.answer = Echo().answer
    assert reply.status_code == 502
    assert len(first.seen) + len(second.seen) == requests


async def test_a_request_that_never_arrived_goes_to_another_server(
    folder: Path, front: Front
) -> None:
    _, echoes = front
    closed_port = "127.0.0.1:9"
    upstreams = {name: echo.address for name, echo in echoes.items()}
    upstreams["tickets"] = f"{closed_port} {upstreams['tickets']}"
    async with ingress(folder, upstreams) as nginx, nginx.client() as client:
        for _ in range(4):
            for method in ("GET", "POST", "PUT", "DELETE"):
                assert (await client.request(method, "/api/shows")).status_code == 200
