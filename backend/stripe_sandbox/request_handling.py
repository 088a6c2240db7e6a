"""The edge of an API request: authentication, faults and idempotency key before the operation,
Stripe's headers after it.
"""

import asyncio
import base64
import binascii
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from backend.stripe_sandbox.errors import ApiError, InvalidParams, KeyInUse, Unauthenticated
from backend.stripe_sandbox.execution import Call, Operation, Reply, encode, execute
from backend.stripe_sandbox.faults import Faults
from backend.stripe_sandbox.ledger import Ledger
from backend.stripe_sandbox.params import parse
from backend.stripe_sandbox.queries import Origin, random_text
from backend.stripe_sandbox.settings import API_VERSION, SandboxSettings
from backend.stripe_sandbox.webhooks import WebhookSender

_MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The process's resources, in the lifespan's state."""

    settings: SandboxSettings
    ledger: Ledger
    faults: Faults
    webhook_sender: WebhookSender
    keys_in_flight: set[str] = field(default_factory=set)


def sandbox_of(request: Request) -> Sandbox:
    sandbox = request.state.sandbox
    assert isinstance(sandbox, Sandbox)
    return sandbox


async def answer(request: Request, operation: Operation) -> Response:
    sandbox, request_id = sandbox_of(request), f"req_{random_text(14)}"
    line = f"{request.method} {request.url.path}"
    try:
        check_key(request)
        reply = await _perform(request, operation, line, request_id)
    except ApiError as error:
        reply = Reply(error.status, encode(error.body), request_id)
    if sandbox.faults.take_hang(line):
        await _never(request, sandbox.settings.hang_seconds)
    return _respond(request, reply, request_id)


def check_key(request: Request) -> None:
    given = _given_key(request.headers.get("authorization", ""))
    if not given:
        raise Unauthenticated(
            "You did not provide an API key. You need to provide your API key in the "
            "Authorization header, using Bearer auth (e.g. 'Authorization: Bearer "
            "YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for details, or "
            "we can help at https://support.stripe.com/."
        )
    if not hmac.compare_digest(given.encode(), sandbox_of(request).settings.api_key.encode()):
        raise Unauthenticated(
            f"Invalid API Key provided: {given[:8]}{'*' * 8}{given[-4:] if len(given) > 12 else ''}"
        )


async def read_body(request: Request) -> bytes:
    limit, body = sandbox_of(request).settings.max_body_bytes, b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            error = InvalidParams("Request entity too large")
            error.status = 413
            raise error
    return body


def origin_of(request: Request, request_id: str | None = None, key: str | None = None) -> Origin:
    public = sandbox_of(request).settings.public_url or str(request.base_url)
    return Origin(request_id=request_id, idempotency_key=key, public_url=public.rstrip("/"))


async def _perform(request: Request, operation: Operation, line: str, request_id: str) -> Reply:
    sandbox, is_write = sandbox_of(request), request.method == "POST"
    encoded = await read_body(request) if is_write else request.url.query.encode()
    key = request.headers.get("idempotency-key") if is_write else None
    if key is not None and not 0 < len(key) <= _MAX_KEY:
        raise InvalidParams(f"Idempotency keys must be 1 to {_MAX_KEY} characters long.")
    tree = parse(encoded)
    async with _only_one(sandbox, key):
        await asyncio.sleep(sandbox.faults.take_latency(line))
        lifetime, failure = sandbox.settings.key_lifetime_seconds, sandbox.faults.take_failure(line)
        call = Call(line, tree, operation, request_id, key, lifetime, failure)
        reply = await sandbox.ledger.run(
            lambda book: execute(book, call), origin_of(request, request_id, key)
        )
    if is_write:
        sandbox.webhook_sender.wake()
    return reply


@asynccontextmanager
async def _only_one(sandbox: Sandbox, key: str | None) -> AsyncIterator[None]:
    """Lock an idempotency key while its request runs. In memory, since a crash ends the request
    too.
    """
    if key is None:
        yield
        return
    if key in sandbox.keys_in_flight:
        raise KeyInUse(key)
    sandbox.keys_in_flight.add(key)
    try:
        yield
    finally:
        sandbox.keys_in_flight.discard(key)


async def _never(request: Request, seconds: float) -> None:
    """Wait until the caller disconnects, as after a lost reply; bounded, so open requests cannot
    pile up.
    """
    try:
        async with asyncio.timeout(seconds):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass


def _given_key(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _respond(request: Request, reply: Reply, request_id: str) -> Response:
    version, key = request.headers.get("stripe-version", ""), request.headers.get("idempotency-key")
    headers = {
        "Request-Id": request_id,
        "Stripe-Version": version if re.fullmatch(r"[0-9a-z.\-]{1,40}", version) else API_VERSION,
        "Cache-Control": "no-cache, no-store",
    }
    if key and request.method == "POST":
        headers |= {"Idempotency-Key": key, "Original-Request": reply.original_request}
    if reply.replayed:
        headers["Idempotent-Replayed"] = "true"
    if reply.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="Stripe"'
    if reply.status >= 400:
        headers |= _advice(reply)
    return Response(reply.body, reply.status, headers, media_type="application/json")


def _advice(reply: Reply) -> dict[str, str]:
    if reply.status >= 500:
        return {}
    return {"Stripe-Should-Retry": "true" if reply.status in {409, 429} else "false"}
