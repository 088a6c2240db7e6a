"""The sandbox on a loopback server, and a merchant's official client and webhook receiver."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from backend.stripe_sandbox.app import SandboxSettings, build

KEY = "sk_test_sandbox"
SECRET = "whsec_sandbox"


class _Server(uvicorn.Server):
    async def main_loop(self) -> None:
        # uvicorn polls its stop flag every 100 ms; sixty tests would wait for that.
        while not self.should_exit:
            await self.on_tick(0)
            await asyncio.sleep(0.01)


@contextmanager
def serve(app: ASGIApp) -> Iterator[str]:
    config = uvicorn.Config(
        app, port=0, log_level="warning", ws="none", lifespan="on", timeout_graceful_shutdown=1
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def eventually(holds: Callable[[], Any], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


@dataclass
class Sandbox:
    """One running sandbox: `api` is the official client, `http` the sandbox's own controls."""

    url: str
    api: stripe.V1Services
    http: httpx.Client

    def authorised(
        self, method: str = "pm_card_visa", amount: int = 2000, **more: Any
    ) -> stripe.PaymentIntent:
        return self.created(amount=amount, confirm=True, payment_method=method, **more)

    def created(self, **params: Any) -> stripe.PaymentIntent:
        options = params.pop("options", {})
        filled = {
            "amount": 2000,
            "currency": "usd",
            "capture_method": "manual",
            "payment_method_types": ["card"],
            **params,
        }
        return self.api.payment_intents.create(filled, options)  # type: ignore[arg-type]

    def authenticate(self, intent: stripe.PaymentIntent, outcome: str) -> dict[str, Any]:
        reply = self.http.post(
            f"/sandbox/payment_intents/{intent.id}/authenticate", json={"outcome": outcome}
        )
        reply.raise_for_status()
        answer: dict[str, Any] = reply.json()
        return answer

    def faults(self, **knobs: Any) -> None:
        self.http.post("/sandbox/faults", json=knobs).raise_for_status()

    def ledger(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get("/sandbox/ledger").raise_for_status().json()
        return answer

    def event_types(self) -> list[str]:
        """The types of all events, oldest first."""
        return [str(event.type) for event in self.api.events.list({"limit": 100}).data][::-1]


@contextmanager
def connect(url: str, key: str = KEY) -> Iterator[Sandbox]:
    transport = stripe.UrllibClient()
    client = stripe.StripeClient(
        key, base_addresses={"api": url}, http_client=transport, max_network_retries=0
    )
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=5) as http:
        yield Sandbox(url, client.v1, http)


@contextmanager
def running(database: Path, **settings: Any) -> Iterator[Sandbox]:
    app = build(SandboxSettings(database=database, **settings))
    with serve(app) as url, connect(url) as sandbox:
        yield sandbox


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "sandbox.sqlite"


@pytest.fixture
def sandbox(database: Path) -> Iterator[Sandbox]:
    with running(database) as sandbox:
        yield sandbox


def error_of(caught: pytest.ExceptionInfo[stripe.StripeError]) -> dict[str, Any]:
    """The `error` of a reply, as it came over the wire."""
    body: Any = caught.value.json_body
    error: dict[str, Any] = body["error"]
    return error


@dataclass
class Receiver:
    """A merchant's webhook endpoint: keeps verified events, and responds with a chosen status."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    attempts: int = 0
    events: list[stripe.Event] = field(default_factory=list)

    async def receive(self, request: Request) -> Response:
        payload = await request.body()
        event = stripe.Webhook.construct_event(payload, request.headers["stripe-signature"], SECRET)
        self.attempts += 1
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.events.append(event)
        return Response(status_code=status)

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "webhook_url": self.url,
            "webhook_secret": SECRET,
            "webhook_retry_base_seconds": 0.02,
        }


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with serve(Starlette(routes=[Route("/hook", receiver.receive, methods=["POST"])])) as url:
        receiver.url = f"{url}/hook"
        yield receiver
