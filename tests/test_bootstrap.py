"""The process of the shop: pages and the OpenAPI document, without Postgres and Redis."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from backend import bootstrap
from backend.kernel.settings import SettingsError
from tests.system import KEYS, PLAIN

PAGE = "<!doctype html><title>GitTix</title><script>let here = 1</script>"
SHOP = {
    "PUSHER_KEY": "key",
    "PUSHER_HOST": "shop.test",
    "PUSHER_PORT": "8000",
    "PUSHER_TLS": "false",
    "STRIPE_SANDBOX_URL": "http://shop.test:8000",
}


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    for name in ("index.html", "404.html", "__spa-fallback.html"):
        (tmp_path / name).write_text(PAGE)
    (tmp_path / "routes.json").write_text(json.dumps(["index", "shows/[show]"]))
    (tmp_path / "service-worker.js").write_text("// the worker")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "page-1.js").write_text("1")
    (tmp_path / "assets" / "font-1.woff2").write_bytes(b"wOF2")
    return tmp_path


@pytest.fixture
def visitor(pages: Path) -> httpx.AsyncClient:
    return _visitor(pages)


def _visitor(pages: Path, **changes: str) -> httpx.AsyncClient:
    environment = SHOP | {"FRONTEND_FOLDER": str(pages)} | changes
    settings = bootstrap.settings_for("shop", environment)
    transport = httpx.ASGITransport(_Started(bootstrap.build("shop", settings)))
    return httpx.AsyncClient(transport=transport, base_url="http://shop.test:8000", verify=PLAIN)


class _Started:
    """A started application. httpx runs no lifespan, and this one's opens nothing."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._app.router.lifespan_context(self._app) as state:
            await self._app({**scope, "state": dict(state or {})}, receive, send)


async def test_the_shop_and_the_api_serve_a_page_with_the_same_policy(
    visitor: httpx.AsyncClient, pages: Path
) -> None:
    page = await visitor.get("/shows/1")
    assert (page.status_code, page.text) == (200, PAGE)
    policy = page.headers["content-security-policy"]
    assert "connect-src 'self' ws://shop.test:8000;" in policy
    assert "frame-src http://shop.test:8000;" in policy
    assert "object-src 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "script-src 'self' 'sha256-" in policy
    assert (await visitor.get("/nowhere")).status_code == 404
    assert (await visitor.get("/readyz")).json()["status"] == "ready"
    facts = (await visitor.get("/shop.json")).json()
    assert facts["push"] == {
        "key": "key",
        "host": "shop.test",
        "port": 8000,
        "tls": False,
        "cluster": "mt1",
    }


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/assets/page-1.js", "text/javascript; charset=utf-8"),
        ("/assets/font-1.woff2", "font/woff2"),
    ],
)
async def test_media_types_do_not_depend_on_the_machine(
    visitor: httpx.AsyncClient, path: str, media_type: str
) -> None:
    assert (await visitor.get(path)).headers["content-type"] == media_type


async def test_the_worker_has_the_pages_scripts_and_digests_and_a_policy_of_its_own(
    visitor: httpx.AsyncClient,
) -> None:
    worker = await visitor.get("/service-worker.js")
    assert worker.headers["content-type"] == "text/javascript; charset=utf-8"
    # At the root, so that its scope is the whole shop; revalidated, so that a new one is found.
    assert worker.headers["cache-control"] == "no-cache"
    assert worker.headers["content-security-policy"] == "default-src 'none'; connect-src 'self'"
    assert "worker-src 'self'" in (await visitor.get("/")).headers["content-security-policy"]
    build = _build(worker)
    assert [url for url, _ in build["files"]] == ["/", "/shows/_", "/404", "/assets/page-1.js"]
    for url, integrity in build["files"]:
        file = await visitor.get(url)
        assert file.status_code == 200
        digest = hashlib.sha256(file.content).digest()
        assert integrity == f"sha256-{base64.b64encode(digest).decode()}"


async def test_another_file_policy_or_source_is_another_version_of_the_worker(pages: Path) -> None:
    versions = [await _version(pages, {}), await _version(pages, {})]
    assert len(set(versions)) == 1
    versions.append(await _version(pages, {"PUSHER_HOST": "push.shop.test"}))
    (pages / "assets" / "page-1.js").write_text("2")
    versions.append(await _version(pages, {}))
    (pages / "service-worker.js").write_text("// another")
    versions.append(await _version(pages, {}))
    assert len(set(versions)) == 4


async def _version(pages: Path, changes: dict[str, str]) -> str:
    async with _visitor(pages, **changes) as visitor:
        version: str = _build(await visitor.get("/service-worker.js"))["version"]
    return version


def _build(worker: httpx.Response) -> Any:
    first, _, source = worker.text.partition("\n")
    assert source.startswith("//")
    return json.loads(first.removeprefix("const BUILD = ").removesuffix(";"))


async def test_the_shop_has_the_document_of_the_whole_api_and_none_of_its_routes(
    visitor: httpx.AsyncClient,
) -> None:
    document = (await visitor.get("/api/openapi.json")).json()
    everything = bootstrap.build("api", bootstrap.settings_for("api", _everything()))
    described = {
        route.path
        for route in everything.routes
        if isinstance(route, Route) and route.include_in_schema and route.path.startswith("/api/")
    }
    assert set(document["paths"]) == described
    refused = await visitor.get("/api/orders")
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


def test_hosted_pusher_needs_no_host_and_the_gateway_does() -> None:
    without = {name: value for name, value in SHOP.items() if name != "PUSHER_HOST"} | {
        "FRONTEND_FOLDER": "/x"
    }
    with pytest.raises(SettingsError, match="PUSHER_HOST is not set"):
        bootstrap.settings_for("shop", without)
    hosted = bootstrap.settings_for(
        "shop", without | {"PUSH_BACKEND": "pusher", "PUSHER_CLUSTER": "eu"}
    )
    assert hosted.pusher_address == "ws-eu.pusher.com"


def _everything() -> dict[str, str]:
    private, public = KEYS
    return SHOP | {
        "DATABASE_URL": "postgresql://nobody@nowhere/none",
        "REDIS_URL": "redis://nowhere",
        "JWT_PRIVATE_KEY": private,
        "JWT_PUBLIC_KEYS": public,
        "STRIPE_API_KEY": "sk_test_x",
        "STRIPE_WEBHOOK_SECRETS": "whsec_x",
        "PUSHER_APP_ID": "1",
        "PUSHER_SECRET": "secret",
    }
