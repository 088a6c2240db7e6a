"""Limits of one client at the ingress, and the reply above them. The services are echoes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.deploy.echo import UPGRADED, fronted
from tests.deploy.nginx import Nginx
from tests.deploy.wire import WEBSOCKET, sent
from tests.replies import code

BURST = 4
TIGHT = {
    "TRUSTED_PROXIES": "127.0.0.1",
    "REQUEST_RATE": "1r/s",
    "REQUEST_BURST": str(BURST),
    "ASSET_RATE": "1r/m",
    "ASSET_BURST": "2",
    "CREDENTIAL_RATE": "1r/m",
    "CREDENTIAL_BURST": "1",
    "SOCKETS_AT_ONCE": "2",
}
MANY = 12


@pytest.fixture
async def nginx(folder: Path) -> AsyncIterator[Nginx]:
    async with fronted(folder, **TIGHT) as (nginx, echoes):
        echoes["push"].answer = UPGRADED
        yield nginx


async def test_a_client_above_the_limit_gets_a_429_problem(nginx: Nginx) -> None:
    replies = await replies_to(nginx, "GET", "/api/shows")
    assert Counter(reply.status_code for reply in replies) == {200: 5, 429: MANY - 5}
    refusal = next(reply for reply in replies if reply.status_code == 429)
    assert code(refusal) == (429, "too_many_requests")
    assert refusal.headers["retry-after"] == "1"
    assert refusal.headers["x-request-id"]


async def test_webhooks_have_no_limit(nginx: Nginx) -> None:
    replies = await replies_to(nginx, "POST", "/api/payments/webhook")
    assert {reply.status_code for reply in replies} == {200}


async def test_sign_in_has_a_lower_limit(nginx: Nginx) -> None:
    replies = await replies_to(nginx, "POST", "/api/users/signin", count=4)
    assert Counter(reply.status_code for reply in replies) == {200: 2, 429: 2}


@pytest.mark.parametrize(
    ("client", "other_client", "same"),
    [
        ("203.0.113.1", "203.0.113.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.1", "203.0.113.1", True),
    ],
)
async def test_a_client_is_an_ipv4_address_or_an_ipv6_network(
    nginx: Nginx, client: str, other_client: str, same: bool
) -> None:
    first = await replies_to(nginx, "GET", "/api/shows", client=client)
    second = await replies_to(nginx, "GET", "/api/shows", client=other_client)
    assert 429 in {reply.status_code for reply in first}
    answered = [reply.status_code for reply in second].count(200)
    assert (answered < BURST) is same


@pytest.mark.parametrize(
    ("path", "burst"), [("/api/shows", BURST), ("/api/users/signin", 1), ("/assets/app.js", 2)]
)
async def test_an_ipv6_site_may_do_as_much_as_four_clients(
    nginx: Nginx, path: str, burst: int
) -> None:
    answered = []
    for network in range(1, 8):
        client = f"2001:db8:5:{network:x}::1"
        replies = await replies_to(nginx, "GET", path, client=client)
        answered.append([reply.status_code for reply in replies].count(200))
    # nginx admits one request and a burst after it.
    assert answered[:2] == [burst + 1] * 2
    # The rate admits some requests more while the test runs.
    assert 4 * burst + 1 <= sum(answered) <= 4 * burst + 9
    other = await replies_to(nginx, "GET", path, count=1, client="2001:db8:6::1")
    assert other[0].status_code == 200


async def test_limits_can_be_switched_off(folder: Path) -> None:
    async with fronted(folder, **TIGHT | {"RATE_LIMITS": "off"}) as (nginx, _):
        for path in ("/api/shows", "/api/users/signin"):
            assert {reply.status_code for reply in await replies_to(nginx, "POST", path)} == {200}


async def test_the_sockets_of_one_client_are_limited(nginx: Nginx) -> None:
    async with AsyncExitStack() as stack:
        heads = []
        for _ in range(3):
            reader = await stack.enter_async_context(
                sent(nginx, f"GET /app/key HTTP/1.1\r\n{WEBSOCKET}")
            )
            heads.append((await reader.readline()).decode().split()[1])
    assert heads == ["101", "101", "429"]


async def test_an_office_behind_one_address_may_open_201_sockets_at_once(folder: Path) -> None:
    async with fronted(folder) as (nginx, echoes), AsyncExitStack() as stack:
        echoes["push"].answer = UPGRADED
        statuses = []
        for _ in range(201):
            reader = await stack.enter_async_context(
                sent(nginx, f"GET /app/key HTTP/1.1\r\n{WEBSOCKET}")
            )
            statuses.append((await reader.readline()).decode().split()[1])
        assert set(statuses) == {"101"}


async def test_new_sockets_of_one_client_have_a_rate(folder: Path) -> None:
    limits = {"SOCKET_RATE": "1r/m", "SOCKET_BURST": "2"}
    async with fronted(folder, **limits) as (nginx, echoes), AsyncExitStack() as stack:
        echoes["push"].answer = UPGRADED
        statuses = []
        for _ in range(4):
            reader = await stack.enter_async_context(
                sent(nginx, f"GET /app/key HTTP/1.1\r\n{WEBSOCKET}")
            )
            statuses.append((await reader.readline()).decode().split()[1])
        assert statuses == ["101", "101", "101", "429"]


async def replies_to(
    nginx: Nginx, method: str, path: str, *, count: int = MANY, client: str = "203.0.113.7"
) -> list[httpx.Response]:
    """Replies to simultaneous requests, in the order of their arrival."""
    async with nginx.client(headers={"X-Forwarded-For": client}) as http:
        return list(await asyncio.gather(*(http.request(method, path) for _ in range(count))))
