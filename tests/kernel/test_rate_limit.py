"""The limit on the writes of one caller."""

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from backend.kernel.rate_limit import WriteLimit


async def _answer(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("done")


def _client() -> httpx.AsyncClient:
    app = Starlette(
        routes=[
            Route("/things", _answer, methods=["GET", "POST"]),
            Route("/hook", _answer, methods=["POST"]),
        ],
        middleware=[
            Middleware(WriteLimit, per_minute=3, proxies=(), unlimited=frozenset({"/hook"}))
        ],
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.test")


async def test_a_caller_above_the_limit_gets_429_with_retry_after() -> None:
    async with _client() as client:
        statuses = [(await client.post("/things")).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        refused = await client.post("/things")
        assert refused.json()["code"] == "too_many_requests"
        assert 0 < int(refused.headers["retry-after"]) <= 60


async def test_reads_other_sessions_and_webhooks_are_not_limited() -> None:
    async with _client() as client:
        for _ in range(4):
            await client.post("/things")
        assert (await client.get("/things")).status_code == 200
        assert (await client.post("/hook")).status_code == 200
        own = {"authorization": "Bearer somebody-else"}
        assert (await client.post("/things", headers=own)).status_code == 200
