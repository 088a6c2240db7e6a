"""The operations endpoints of every process: `/healthz`, `/readyz` with the result of each check,
`/metrics`.

A service serves these routes beside its own. The relay and the worker, which serve no API, serve
them at `OPS_HOST:OPS_PORT`.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from backend.kernel.peer_processes import PeerProcesses
from backend.kernel.server import server_config
from backend.kernel.settings import Settings, SettingsError

READY_SECONDS = 2.0
STOP_SECONDS = 1

# Raises when a dependency of the process fails. Returns a status text, or None for "ok".
Check = Callable[[], Awaitable[str | None]]


class NotReady(Exception):
    """Raised by a check; `/readyz` returns its message without the name of the exception."""


class Readiness:
    """The checks of a process that `/readyz` runs. While the process starts or drains, the only
    check fails.
    """

    def __init__(self) -> None:
        self.checks: dict[str, Check] = {"process": _failing("starting")}

    @contextmanager
    def checking(self, checks: Mapping[str, Check]) -> Iterator[None]:
        """Run these checks for `/readyz` while the block runs."""
        self._set(checks)
        try:
            yield
        finally:
            self._set({"process": _failing("draining")})

    def _set(self, checks: Mapping[str, Check]) -> None:
        # In place, since the application holds a reference to this mapping.
        self.checks.clear()
        self.checks.update(checks)


def routes(peers: PeerProcesses | None = None) -> list[BaseRoute]:
    """The routes for an application with `checks` in its lifespan state; they include the results
    of its peers.
    """

    async def readyz(request: Request) -> Response:
        """200 when every check passes, else 503; the body has the result of each."""
        ready, results = await _run(request.state.checks)
        if peers:
            peers_ready, peer_results = await peers.readiness()
            ready, results = ready and peers_ready, results | peer_results
        status = "ready" if ready else "not ready"
        return JSONResponse({"status": status, "checks": results}, 200 if ready else 503)

    async def metrics(_request: Request) -> Response:
        exposition = await peers.metrics() if peers else generate_latest()
        return Response(exposition, media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/healthz", _healthz, include_in_schema=False),
        Route("/readyz", readyz, include_in_schema=False),
        Route("/metrics", metrics, include_in_schema=False),
    ]


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Readiness]:
    """Serve only these routes at `OPS_HOST:OPS_PORT` while the block runs; without an address,
    serve nothing. Raises SettingsError when it cannot listen at the address.
    """
    readiness = Readiness()
    if not settings.ops_port and not settings.ops_host.startswith("/"):
        yield readiness
        return
    listening = _listen(settings)
    server = _EmbeddedServer(_config(readiness))
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="operations")
    try:
        yield readiness
    finally:
        server.should_exit = True
        await serving
        listening.close()


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _failing(reason: str) -> Check:
    async def check() -> None:
        raise NotReady(reason)

    return check


async def _run(checks: Mapping[str, Check]) -> tuple[bool, dict[str, str]]:
    names = list(checks)
    outcomes = await asyncio.gather(*(_outcome(checks[name]) for name in names))
    results = {name: text for name, (_, text) in zip(names, outcomes, strict=True)}
    return all(passed for passed, _ in outcomes), results


async def _outcome(check: Check) -> tuple[bool, str]:
    try:
        return True, await asyncio.wait_for(check(), READY_SECONDS) or "ok"
    except NotReady as error:
        return False, str(error)
    except Exception as error:  # readiness reports every error
        return False, f"{type(error).__name__}: {error}"[:200]


def _config(readiness: Readiness) -> uvicorn.Config:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {"checks": readiness.checks}

    app = Starlette(routes=routes(), lifespan=lifespan)
    return server_config(app, ws="none", stop_seconds=STOP_SECONDS)


class _EmbeddedServer(uvicorn.Server):
    """Leaves the signal handlers to the process in which it runs."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.ops_host, settings.ops_port
    try:
        if host.startswith("/"):
            return _listen_at(Path(host))
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=16
        )
    except OSError as error:
        raise SettingsError(
            f"cannot listen at {host}{f':{port}' if port else ''} ({error.strerror}): "
            "set OPS_HOST and OPS_PORT to a free address"
        ) from error


def _listen_at(path: Path) -> socket.socket:
    """A Unix socket with permissions for its owner only. Replaces the socket of a
    killed process.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    path.chmod(0o600)
    listening.listen(16)
    return listening
