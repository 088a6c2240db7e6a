"""What every process tells operators, over HTTP: that its loop turns, whether it is ready and why not, and its metrics.

A service has these routes among its own; a process that serves nothing else (relay, worker) has them at `OPS_HOST:OPS_PORT`.
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

# Raises when something that a process needs is not as it should be; may return a word about it, else it is "ok".
Check = Callable[[], Awaitable[str | None]]


class NotReady(Exception):
    """Why, in words that need no name of an exception before them."""


class Readiness:
    """What a process is ready by: it is not while it starts, nor while it ends."""

    def __init__(self) -> None:
        self.checks: dict[str, Check] = {"process": _refusing("starting")}

    @contextmanager
    def by(self, checks: Mapping[str, Check]) -> Iterator[None]:
        """Ready while the block runs and these checks pass."""
        self._set(checks)
        try:
            yield
        finally:
            self._set({"process": _refusing("draining")})

    def _set(self, checks: Mapping[str, Check]) -> None:
        # In place: the application has this very mapping.
        self.checks.clear()
        self.checks.update(checks)


def routes(peers: PeerProcesses | None = None) -> list[BaseRoute]:
    """For an application whose lifespan state has `checks`, a mapping of checks by name; it speaks for its peers as well."""

    async def readyz(request: Request) -> Response:
        """Ready when every check passes; else 503 and why."""
        ready, told = await _looked(request.state.checks)
        if peers:
            all_ready, said = await peers.readiness()
            ready, told = ready and all_ready, told | said
        status = "ready" if ready else "not ready"
        return JSONResponse({"status": status, "checks": told}, 200 if ready else 503)

    async def metrics(_request: Request) -> Response:
        shown = await peers.metrics() if peers else generate_latest()
        return Response(shown, media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/healthz", _healthz, include_in_schema=False),
        Route("/readyz", readyz, include_in_schema=False),
        Route("/metrics", metrics, include_in_schema=False),
    ]


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Readiness]:
    """These routes alone, where the settings say, while the block runs. Raises SettingsError for an address in use."""
    readiness = Readiness()
    if not settings.ops_port and not settings.ops_host.startswith("/"):
        yield readiness
        return
    listening = _listen(settings)
    server = _Beside(_config(readiness))
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="operations")
    try:
        yield readiness
    finally:
        server.should_exit = True
        await serving
        listening.close()


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _refusing(word: str) -> Check:
    async def check() -> None:
        raise NotReady(word)

    return check


async def _looked(checks: Mapping[str, Check]) -> tuple[bool, dict[str, str]]:
    names = list(checks)
    outcomes = await asyncio.gather(*(_outcome(checks[name]) for name in names))
    told = {name: word for name, (_, word) in zip(names, outcomes, strict=True)}
    return all(passed for passed, _ in outcomes), told


async def _outcome(check: Check) -> tuple[bool, str]:
    try:
        return True, await asyncio.wait_for(check(), READY_SECONDS) or "ok"
    except NotReady as fault:
        return False, str(fault)
    except Exception as fault:  # readiness reports whatever is wrong
        return False, f"{type(fault).__name__}: {fault}"[:200]


def _config(readiness: Readiness) -> uvicorn.Config:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {"checks": readiness.checks}

    app = Starlette(routes=routes(), lifespan=lifespan)
    return server_config(app, ws="none", stop_seconds=STOP_SECONDS)


class _Beside(uvicorn.Server):
    """The process has a life of its own, and its own idea of what a signal means."""

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
    except OSError as fault:
        raise SettingsError(
            f"can't listen at {host}{f':{port}' if port else ''} ({fault.strerror}): set OPS_HOST and OPS_PORT to a free address"
        ) from fault


def _listen_at(path: Path) -> socket.socket:
    """A Unix socket, for its owner only. One that a killed process left behind is replaced."""
    with suppress(FileNotFoundError):
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    path.chmod(0o600)
    listening.listen(16)
    return listening
