"""The middleware of every service: correlation ids, security headers, body limit, writes of our
own pages only.
"""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import httpx
import pytest
from prometheus_client import REGISTRY, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.testing import CapturingLogger

from backend.kernel import correlation, middleware
from backend.kernel.principal import SESSION_COOKIE
from backend.kernel.web import build
from tests.replies import code
from tests.system import System

OURS = "https://shop.test"
LIMIT = 1000


async def echo(request: Request) -> Response:
    body = await request.body()
    return JSONResponse({"id": str(correlation.current()), "bytes": len(body)})


async def fail(_request: Request) -> Response:
    raise RuntimeError("s3cret")


def app(*, secure: bool = False) -> Starlette:
    routes = [
        Route(
            "/api/echo",
            echo,
            methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            include_in_schema=False,
        ),
        Route("/page", echo, include_in_schema=False),
        Route("/api/fail", fail, include_in_schema=False),
    ]
    return build(
        [],
        verifier=None,
        origins=frozenset({OURS}),
        secure=secure,
        routes=routes,
        max_body_bytes=LIMIT,
    )


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield client


COOKIE = f"{SESSION_COOKIE}=token"

ALLOWED: dict[str, dict[str, str]] = {
    "no cookie, foreign page": {"Origin": "https://evil.test"},
    "cookie, our page": {"Cookie": COOKIE, "Origin": OURS},
    "cookie, no browser": {"Cookie": COOKIE},
    "cookie, same origin by fetch metadata": {"Cookie": COOKIE, "Sec-Fetch-Site": "same-origin"},
    "cookie, typed address": {"Cookie": COOKIE, "Sec-Fetch-Site": "none"},
    "token, foreign page": {
        "Authorization": "Bearer x",
        "Cookie": COOKIE,
        "Origin": "https://evil.test",
    },
    "somebody else's cookie, foreign page": {"Cookie": "theirs=1", "Origin": "https://evil.test"},
    "a proxy's Basic, our page": {"Authorization": "Basic YTpi", "Cookie": COOKIE, "Origin": OURS},
}
REFUSED: dict[str, dict[str, str]] = {
    "foreign page": {"Cookie": COOKIE, "Origin": "https://evil.test"},
    "page without an origin": {"Cookie": COOKIE, "Origin": "null"},
    "empty origin": {"Cookie": COOKIE, "Origin": ""},
    "another scheme": {"Cookie": COOKIE, "Origin": "http://shop.test"},
    "another port": {"Cookie": COOKIE, "Origin": f"{OURS}:444"},
    "our name as a beginning": {"Cookie": COOKIE, "Origin": f"{OURS}.evil.test"},
    "another case": {"Cookie": COOKIE, "Origin": OURS.upper()},
    "cross-site without origin": {"Cookie": COOKIE, "Sec-Fetch-Site": "cross-site"},
    "another subdomain without origin": {"Cookie": COOKIE, "Sec-Fetch-Site": "same-site"},
    "our cookie behind an odd one": {
        "Cookie": f'p={{"a":1}}; {COOKIE}',
        "Origin": "https://evil.test",
    },
    "our cookie behind a quoted one": {
        "Cookie": f'q="a; b"; {COOKIE}',
        "Origin": "https://evil.test",
    },
    "our cookie behind nonsense": {
        "Cookie": f"=; ;;a; \u00e9=1; {COOKIE}",
        "Origin": "https://evil.test",
    },
    "the refresh cookie alone": {"Cookie": "gittix_refresh=x", "Origin": "https://evil.test"},
} | {
    f"beside {authorization!r}": {
        "Authorization": authorization,
        "Cookie": COOKIE,
        "Origin": "https://evil.test",
    }
    for authorization in ("Basic YTpi", "", "Bearer", "Bearer  ", "Bearer\tx", "Bearer x, y", "x")
}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("case", ALLOWED)
async def test_writes_of_the_own_origin_pass(
    case: str, method: str, client: httpx.AsyncClient
) -> None:
    assert (await client.request(method, "/api/echo", headers=ALLOWED[case])).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("case", REFUSED)
async def test_a_write_with_the_session_cookie_from_another_origin_is_refused(
    case: str, method: str, client: httpx.AsyncClient
) -> None:
    headers = [(name.encode(), value.encode()) for name, value in REFUSED[case].items()]
    assert code(await client.request(method, "/api/echo", headers=headers)) == (
        403,
        "origin_refused",
    )


@pytest.mark.parametrize("case", REFUSED)
async def test_a_read_passes_from_any_origin(case: str, client: httpx.AsyncClient) -> None:
    headers = [(name.encode(), value.encode()) for name, value in REFUSED[case].items()]
    assert (await client.get("/api/echo", headers=headers)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_no_reply_lets_a_page_of_another_origin_read_it(
    method: str, client: httpx.AsyncClient
) -> None:
    asks = {"Origin": "https://evil.test", "Access-Control-Request-Method": "POST"}
    reply = await client.request(method, "/api/echo", headers=asks)
    assert not [name for name in reply.headers if name.startswith("access-control-")]


async def test_two_cookie_headers_are_both_read(client: httpx.AsyncClient) -> None:
    headers = [("Cookie", "a=1"), ("Cookie", COOKIE), ("Origin", "https://evil.test")]
    assert code(await client.post("/api/echo", headers=headers)) == (403, "origin_refused")


async def test_two_bearer_headers_exempt_from_nothing(client: httpx.AsyncClient) -> None:
    headers = [
        ("Authorization", "Bearer x"),
        ("Authorization", "Bearer y"),
        ("Cookie", COOKIE),
        ("Origin", "https://evil.test"),
    ]
    assert code(await client.post("/api/echo", headers=headers)) == (403, "origin_refused")


async def test_invented_methods_share_one_series_of_the_metric(client: httpx.AsyncClient) -> None:
    for number in range(20):
        await client.request(f"INVENTED{number}", "/api/echo")
    metric = generate_latest(REGISTRY).decode()
    assert "INVENTED" not in metric
    assert 'gittix_http_request_seconds_count{method="other"' in metric


async def test_a_request_id_is_echoed_and_is_the_correlation_id(client: httpx.AsyncClient) -> None:
    given = str(uuid4())
    reply = await client.get("/api/echo", headers={"X-Request-Id": given})
    assert reply.headers["x-request-id"] == given == reply.json()["id"]


@pytest.mark.parametrize("given", [None, "", "nonsense", "x" * 5000, "1; drop table"])
async def test_a_request_without_a_usable_id_gets_one(
    given: str | None, client: httpx.AsyncClient
) -> None:
    headers = {"X-Request-Id": given} if given is not None else {}
    reply = await client.get("/api/echo", headers=headers)
    assert str(UUID(reply.headers["x-request-id"])) == reply.json()["id"] != given


@pytest.mark.parametrize("path", ["/api/echo", "/page", "/nothing", "/api/fail"])
async def test_every_reply_has_the_security_headers(path: str, client: httpx.AsyncClient) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
    assert "strict-transport-security" not in headers
    assert headers.get("cache-control") == ("no-store" if path.startswith("/api/") else None)


async def test_behind_https_replies_have_hsts() -> None:
    transport = httpx.ASGITransport(app(secure=True))
    async with httpx.AsyncClient(transport=transport, base_url="https://api.test") as client:
        for path in ("/page", "/api/echo", "/api/fail", "/nothing"):
            reply = await client.get(path)
            assert reply.headers["strict-transport-security"].startswith("max-age=31536000")


async def test_a_body_of_the_limit_passes_and_one_byte_more_does_not(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.post("/api/echo", content=b"x" * LIMIT)).json()["bytes"] == LIMIT
    refused = await client.post("/api/echo", content=b"x" * (LIMIT + 1))
    assert code(refused) == (413, "body_too_large")
    assert refused.headers["connection"] == "close"


@pytest.mark.parametrize("sizes", [[400, 400, 400], [LIMIT + 1], [1] * (LIMIT + 1)])
async def test_a_body_without_a_length_is_refused_as_it_arrives(
    sizes: list[int], client: httpx.AsyncClient
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for size in sizes:
            yield b"x" * size

    assert code(await client.post("/api/echo", content=chunks())) == (413, "body_too_large")


async def test_an_unexpected_error_reveals_nothing(client: httpx.AsyncClient) -> None:
    reply = await client.get("/api/fail")
    assert code(reply) == (500, "internal_error")
    assert "s3cret" not in reply.text


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    assert code(await client.get("/nothing")) == (404, "not_found")
    wrong = await client.request("OPTIONS", "/api/echo")
    assert code(wrong) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"]


async def test_the_request_log_has_the_code_of_a_problem_and_the_user(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.start("api")
    log, ada = CapturingLogger(), system.person("ada")
    monkeypatch.setattr(middleware, "log", log)
    path = f"/api/orders/{uuid4()}"
    await ada.get(path)
    await system.anonymous().get(path)
    await ada.get("/api/orders")
    await system.anonymous().post("/api/orders", headers=REFUSED["foreign page"])
    assert [
        (line.kwargs["status"], line.kwargs.get("code"), line.kwargs.get("user_id"))
        for line in log.calls
    ] == [
        (404, "order_not_found", str(ada.id)),
        (401, "unauthorized", None),
        (200, None, str(ada.id)),
        (403, "origin_refused", None),
    ]
