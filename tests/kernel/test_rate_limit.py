"""The limit on the writes of one caller: a verified user, else an address."""

from itertools import count

import httpx
import pytest

from backend import bootstrap
from tests.system import System

LIMIT = 3


@pytest.fixture
async def api(system: System, monkeypatch: pytest.MonkeyPatch) -> System:
    monkeypatch.setattr(bootstrap, "WRITES_PER_MINUTE", LIMIT)
    system.configure(RATE_LIMITS="on", TRUSTED_PROXIES="127.0.0.1")
    await system.start("api")
    return system


_hosts = count(1)


def address() -> str:
    return f"203.0.113.{next(_hosts)}"


async def statuses(
    client: httpx.AsyncClient, *headers: dict[str, str], method: str = "POST"
) -> list[int]:
    """The statuses of writes that no route accepts, one with each of the headers."""
    return [
        (await client.request(method, "/api/nothing", headers=each)).status_code for each in headers
    ]


async def test_a_caller_above_the_limit_gets_429_with_retry_after(api: System) -> None:
    client, at = api.anonymous(), {"X-Forwarded-For": address()}
    assert await statuses(client, at, at, at, at) == [404, 404, 404, 429]
    refused = await client.post("/api/nothing", headers=at)
    assert refused.json()["code"] == "too_many_requests"
    assert 15 < int(refused.headers["retry-after"]) <= 20


async def test_reads_other_callers_and_webhooks_are_not_limited(api: System) -> None:
    client, at = api.anonymous(), {"X-Forwarded-For": address()}
    await statuses(client, *[at] * (LIMIT + 1))
    assert await statuses(client, *[at] * 5, method="GET") == [404] * 5
    hook = [await client.post("/api/payments/webhook", headers=at) for _ in range(LIMIT + 1)]
    assert 429 not in {reply.status_code for reply in hook}
    assert await statuses(client, {"X-Forwarded-For": address()}) == [404]
    assert await statuses(api.person().http, at) == [404]


async def test_invented_credentials_share_the_limit_of_their_address(api: System) -> None:
    at = {"X-Forwarded-For": address()}
    invented = [
        {"Authorization": "Bearer invented"},
        {"Authorization": "Basic YTpi"},
        {"Cookie": "gittix_session=invented"},
        {"Authorization": "Bearer another"},
        {"Authorization": "Bearer  another"},
        {"Authorization": "Digest x"},
        {"Cookie": "gittix_session=another"},
        {},
    ]
    found = await statuses(api.anonymous(), *(at | headers for headers in invented))
    assert found == [404] * LIMIT + [429] * (len(invented) - LIMIT)


async def test_one_user_has_one_limit_for_each_spelling_and_address(api: System) -> None:
    user, client = api.person(), api.anonymous()
    token = user.token
    spellings = [
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"Bearer  {token}"},
        {"Authorization": f"bearer   {token}"},
        {"Authorization": f"BEARER {token}"},
        {"Cookie": f"gittix_session={token}"},
        {"Cookie": f"other=1; gittix_session={token}"},
    ]
    found = await statuses(client, *(each | {"X-Forwarded-For": address()} for each in spellings))
    assert found == [404] * LIMIT + [429] * 3


async def test_the_addresses_of_an_ipv6_site_have_a_limit_together(api: System) -> None:
    client = api.anonymous()
    networks = [{"X-Forwarded-For": f"2001:db8:7:{network:x}::1"} for network in range(20)]
    assert await statuses(client, *networks) == [404] * 4 * LIMIT + [429] * (20 - 4 * LIMIT)
    assert await statuses(client, {"X-Forwarded-For": "2001:db8:8::1"}) == [404]
