"""The Stripe sandbox: a stateful double of the part of Stripe's API that GitTix uses.

It is a process of its own, and the official `stripe` library is its client, with only the base
address changed. Its invariants are Stripe's: an intent is captured at most once and never beyond
its authorisation, refunds never exceed the captured amount, a key gives one reply, and each change
appends an event in the same transaction. Bind it to loopback. A hanging request keeps its
connection open, so give uvicorn a `timeout_graceful_shutdown`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backend.stripe_sandbox.controls import sandbox_routes
from backend.stripe_sandbox.errors import ApiError, Broken, InvalidParams
from backend.stripe_sandbox.faults import Faults
from backend.stripe_sandbox.ledger import Ledger
from backend.stripe_sandbox.queries import random_text
from backend.stripe_sandbox.request_handling import Sandbox
from backend.stripe_sandbox.routes import api_routes
from backend.stripe_sandbox.settings import SandboxSettings
from backend.stripe_sandbox.webhooks import WebhookSender

__all__ = ["SandboxSettings", "build"]


def build(settings: SandboxSettings) -> Starlette:
    """The sandbox as an ASGI app. Its lifespan opens the ledger's file."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        ledger = Ledger(
            settings.database,
            clock=settings.clock,
            webhooks=settings.webhook_url is not None,
            max_waiting=settings.max_waiting_jobs,
        )
        faults = Faults()
        timeout = httpx.Timeout(settings.webhook_timeout_seconds)
        # trust_env: webhooks to loopback must not go through the machine's proxy.
        async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
            webhook_sender = WebhookSender(settings, ledger, faults, client)
            delivering = asyncio.create_task(webhook_sender.run(), name="sandbox-webhooks")
            try:
                yield {"sandbox": Sandbox(settings, ledger, faults, webhook_sender)}
            finally:
                delivering.cancel()
                with suppress(asyncio.CancelledError):
                    await delivering
                await ledger.close()

    return Starlette(
        routes=[*api_routes, *sandbox_routes],
        exception_handlers={ApiError: _explain, HTTPException: _unrecognized, Exception: _broken},
        lifespan=lifespan,
    )


def _explain(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _reply(error, error.status)


def _unrecognized(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = (
        f"Unrecognized request URL ({request.method}: {request.url.path}). Please see "
        "https://stripe.com/docs."
    )
    return _reply(InvalidParams(message), 404 if error.status_code == 405 else error.status_code)


def _broken(_request: Request, _error: Exception) -> Response:
    return _reply(Broken(), 500)


def _reply(error: ApiError, status: int) -> Response:
    return JSONResponse(error.body, status, {"Request-Id": f"req_{random_text(14)}"})
