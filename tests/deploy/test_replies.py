"""The headers of replies, and the ingress's access log. The services are echoes."""

import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from loadtests.ports import free_port
from tests.deploy.echo import NO_REPLY, OK, Echo, fronted
from tests.deploy.nginx import Nginx
from tests.replies import code

pytestmark = pytest.mark.asyncio(loop_scope="module")

Front = tuple[Nginx, Mapping[str, Echo]]
SECRET = "s3cr3t"
SHOPS_POLICY = "default-src 'self'; script-src 'self'"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def front(folder: Path) -> AsyncIterator[Front]:
    async with fronted(folder) as found:
        yield found


async def test_a_reply_without_headers_gets_those_of_data(front: Front) -> None:
    nginx, _ = front
    async with nginx.client() as client:
        reply = await client.get("/api/shows")
    assert policy(reply) == {
        "content-security-policy": [
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ],
        "x-frame-options": ["DENY"],
        "x-content-type-options": ["nosniff"],
        "referrer-policy": ["strict-origin-when-cross-origin"],
        "cross-origin-resource-policy": ["same-origin"],
        "permissions-policy": ["camera=(), geolocation=(), microphone=()"],
        # Without TLS there must be no Strict-Transport-Security.
        "strict-transport-security": [],
        "cross-origin-opener-policy": [],
    }
    assert reply.headers["server"] == "nginx"


async def test_a_services_own_headers_are_kept_and_occur_once(front: Front) -> None:
    nginx, echoes = front
    headers = {
        "Content-Security-Policy": SHOPS_POLICY,
        "X-Frame-Options": "SAMEORIGIN",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "X-Request-Id": "its own",
        "Strict-Transport-Security": "max-age=1",
    }
    echoes["frontend"].answer = answering(headers=headers)
    async with nginx.client() as client:
        reply = await client.get("/")
    echoes["frontend"].answer = OK
    for name in headers.keys() - {"X-Request-Id"}:
        assert reply.headers.get_list(name) == [headers[name]], name
    (request_id,) = reply.headers.get_list("x-request-id")
    assert request_id == echoes["frontend"].seen[-1].values("x-request-id")[0]


async def test_the_3d_secure_page_may_be_framed(front: Front) -> None:
    nginx, _ = front
    async with nginx.client() as client:
        reply = await client.get("/sandbox/3ds/pi_1")
    assert policy(reply)["x-frame-options"] == []


async def test_a_services_retry_after_is_kept(front: Front) -> None:
    nginx, echoes = front
    async with nginx.client() as client:
        for headers, expected in (({"Retry-After": "17"}, "17"), ({}, "1")):
            echoes["orders"].answer = answering("503 Service Unavailable", headers=headers)
            reply = await client.get("/api/orders")
            assert (reply.status_code, reply.headers.get_list("retry-after")) == (503, [expected])
        echoes["orders"].answer = OK
        assert "retry-after" not in (await client.get("/api/orders")).headers


@pytest.mark.parametrize(
    ("path", "compressed"),
    [
        ("/api/shows", True),
        ("/api/tickets", True),
        ("/api/users/currentuser", False),
        ("/api/payments/1", False),
    ],
)
async def test_only_public_replies_are_compressed(
    front: Front, path: str, compressed: bool
) -> None:
    nginx, echoes = front
    body = b'{"a":"' + b"x" * 4_000 + b'"}'
    for echo in echoes.values():
        echo.answer = answering(body=body)
    async with nginx.client() as client:
        reply = await client.get(path, headers={"Accept-Encoding": "gzip"})
    for echo in echoes.values():
        echo.answer = OK
    assert reply.content == body
    assert ("content-encoding" in reply.headers) is compressed


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"url": "/api/shows?" + "x" * 9_000}, (414, "uri_too_long")),
        ({"url": "/", "headers": {"x": "x" * 9_000}}, (431, "headers_too_large")),
        ({"url": "/", "headers": {"host": "a b"}}, (400, "bad_request")),
        ({"url": "/", "method": "TRACE"}, (405, "method_not_allowed")),
    ],
    ids=["uri", "headers", "host", "method"],
)
async def test_refusals_of_nginx_are_problems_too(
    front: Front, request_: dict[str, str], problem: tuple[int, str]
) -> None:
    nginx, _ = front
    async with nginx.client() as client:
        reply = await client.request(**({"method": "GET"} | request_))  # type: ignore[arg-type]
    assert code(reply) == problem
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["shop.example", "www.shop.example:8080", "evil.example"])
async def test_only_its_own_host_names_are_served(folder: Path, name: str) -> None:
    async with (
        fronted(folder, SERVER_NAME="shop.example www.shop.example") as (nginx, _),
        nginx.client(headers={"Host": name}) as client,
    ):
        reply = await client.get("/")
    if name == "evil.example":
        assert code(reply) == (421, "misdirected_request")
    else:
        assert reply.status_code == 200


async def test_the_access_log_contains_no_secret(front: Front) -> None:
    nginx, echoes = front
    echoes["orders"].answer = NO_REPLY
    async with nginx.client() as client:
        for path in ("/checkout/1", "/api/orders", "/app/key", "/api/other"):
            reply = await client.get(
                f"{path}?payment_intent_client_secret={SECRET}",
                headers={
                    "Authorization": f"Bearer {SECRET}",
                    "Cookie": f"session={SECRET}",
                    "Referer": f"http://shop.example/?token={SECRET}",
                },
            )
            assert reply.status_code in {200, 404, 502}
    echoes["orders"].answer = OK
    assert [(line["path"], line["status"]) for line in nginx.access_log()[-4:]] == [
        ("/checkout/1", 200),
        ("/api/orders", 502),
        ("/app/key", 200),
        ("/api/other", 404),
    ]
    assert SECRET not in nginx.output()
    assert SECRET not in nginx.errors()


async def test_a_line_of_the_access_log_has_the_times_of_the_upstream(front: Front) -> None:
    nginx, echoes = front
    async with nginx.client() as client:
        await client.get("/api/shows", headers={"User-Agent": 'a "quoted" \x01 agent'})
    line = nginx.access_log()[-1]
    assert line["user_agent"] == 'a "quoted" \x01 agent'
    assert (line["method"], line["path"], line["status"], line["limit"]) == (
        "GET",
        "/api/shows",
        200,
        "PASSED",
    )
    assert (line["upstream"], line["upstream_status"]) == (echoes["tickets"].address, "200")
    assert 0 <= float(line["upstream_seconds"]) < 5
    assert 0 <= line["seconds"] < 5


async def test_with_a_certificate_it_serves_tls_and_redirects_http(
    folder: Path, tmp_path: Path
) -> None:
    certificate, key = self_signed(folder)
    port = free_port()
    async with fronted(
        folder, TLS_CERTIFICATE=str(certificate), TLS_KEY=str(key), LISTEN_TLS_PORT=str(port)
    ) as (nginx, echoes):
        async with nginx.client() as client:
            plain = await client.get("/shows/1?a=b", headers={"Host": "shop.example"})
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with httpx.AsyncClient(verify=trusting) as client:
            reply = await client.get(f"https://localhost:{port}/api/shows")
    assert (plain.status_code, plain.headers["location"]) == (
        308,
        "https://shop.example/shows/1?a=b",
    )
    assert reply.status_code == 200
    assert policy(reply)["strict-transport-security"] == ["max-age=31536000; includeSubDomains"]
    assert policy(reply)["cross-origin-opener-policy"] == ["same-origin"]
    assert [seen.values("x-forwarded-proto") for seen in echoes["tickets"].seen] == [["https"]]
    assert not echoes["frontend"].seen


def policy(reply: httpx.Response) -> dict[str, list[str]]:
    """The security headers of a reply, each as often as it occurs."""
    names = (
        "content-security-policy",
        "x-frame-options",
        "x-content-type-options",
        "referrer-policy",
        "cross-origin-resource-policy",
        "permissions-policy",
        "strict-transport-security",
        "cross-origin-opener-policy",
    )
    return {name: reply.headers.get_list(name) for name in names}


def answering(
    status: str = "200 OK", *, body: bytes = b"{}", headers: Mapping[str, str] | None = None
) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key, readable by all users."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-days", "1", "-subj", "/CN=localhost"),
            *(
                "-addext",
                "subjectAltName=DNS:localhost",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ),
            *("-nodes", "-keyout", str(key), "-out", str(certificate)),
        ),
        check=True,
        capture_output=True,
    )
    key.chmod(0o644)
    return certificate, key
