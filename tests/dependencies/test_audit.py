"""The audit fails for a known vulnerability, and only reports a service that does not answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.bootstrap import http_config
from loadtests.ports import free_port
from tests.dependencies import audit, commands
from tests.system import served

pytestmark = pytest.mark.timeout(120)

NOWHERE = "http://127.0.0.1:1"


@asynccontextmanager
async def services(*, vulnerable: frozenset[str] = frozenset()) -> AsyncIterator[str]:
    """OSV and npm's registry at one URL; packages of these names are vulnerable."""

    async def batch(request: Request) -> Response:
        names = [query["package"]["name"] for query in (await request.json())["queries"]]
        known = {"vulns": [{"id": "GHSA-1", "modified": "2026-01-01T00:00:00Z"}]}
        return JSONResponse({"results": [known if name in vulnerable else {} for name in names]})

    async def details(_request: Request) -> Response:
        return JSONResponse({"id": "GHSA-1", "modified": "2026-01-01T00:00:00Z", "affected": []})

    async def advisories(request: Request) -> Response:
        import gzip

        names = json.loads(gzip.decompress(await request.body()))
        advisory = {
            "id": 1,
            "url": "https://example.com/1",
            "title": "A flaw",
            "severity": "high",
            "vulnerable_versions": ">=0",
            "cwe": [],
            "cvss": {"score": 0, "vectorString": None},
        }
        return JSONResponse({name: [advisory] for name in names if name in vulnerable})

    async def package(request: Request) -> Response:
        name, version = request.path_params["name"], "8.6.0"
        versions = {version: {"name": name, "version": version}}
        return JSONResponse({"name": name, "versions": versions, "dist-tags": {"latest": version}})

    port = free_port()
    app = Starlette(
        routes=[
            Route("/v1/querybatch", batch, methods=["POST"]),
            Route("/v1/vulns/{id}", details),
            Route("/-/npm/v1/security/advisories/bulk", advisories, methods=["POST"]),
            # npm reads the versions of a vulnerable package, to suggest one.
            Route("/{name:path}", package),
        ]
    )
    import uvicorn

    async with served(uvicorn.Server(http_config(app, "127.0.0.1", port))):
        yield f"http://127.0.0.1:{port}"


async def test_locks_without_vulnerable_packages_pass(capsys: pytest.CaptureFixture[str]) -> None:
    async with services() as url:
        found = await audit.audit_all(osv=url, registry=url)
    assert [each.vulnerable for each in found] == [False] * (1 + len(commands.NPM_LOCKS))
    assert audit.report(found) == 0
    assert capsys.readouterr().out.count("no package with a known vulnerability") == len(found)


async def test_a_vulnerable_python_package_fails() -> None:
    async with services(vulnerable=frozenset({"starlette"})) as url:
        found = await audit.audit_python(url)
    assert found.vulnerable
    assert "starlette" in found.report
    assert audit.report([found]) == 1


async def test_a_vulnerable_npm_package_fails() -> None:
    async with services(vulnerable=frozenset({"pusher-js"})) as url:
        found = await audit.audit_npm(commands.PAGES, url)
    assert found.vulnerable
    assert "pusher-js: high" in found.report
    assert audit.report([found]) == 1


async def test_a_service_that_refuses_connections_is_reported_and_does_not_fail(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [
        await audit.audit_python(NOWHERE),
        await audit.audit_npm(commands.PAGES, NOWHERE),
    ]
    assert [each.vulnerable for each in found] == [None, None]
    assert audit.report(found) == 0
    assert capsys.readouterr().out.count("the service did not answer") == 2


async def test_a_service_that_never_answers_ends_with_the_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "SECONDS", 1.0)
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(
        lambda _reader, writer: writers.append(writer), "127.0.0.1", 0
    )
    port = silent.sockets[0].getsockname()[1]
    async with silent:
        found = await audit.audit_python(f"http://127.0.0.1:{port}")
    assert writers
    for writer in writers:
        writer.close()
    assert found.vulnerable is None
