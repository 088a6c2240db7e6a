"""Pure ASGI middleware of every service: request log, security headers, body limit, same-origin
writes.
"""

import time
import uuid
from contextlib import nullcontext, suppress
from functools import lru_cache
from typing import Any

import structlog
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.kernel import correlation, tracing
from backend.kernel.metrics import REQUESTS
from backend.kernel.principal import COOKIE_PREFIX, USER_ID, bearer_token
from backend.kernel.problems import PROBLEM_CODE, Forbidden, Problem, TooLarge

log = structlog.get_logger()

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
METHODS = SAFE_METHODS | {"POST", "PUT", "PATCH", "DELETE"}
QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


class RequestLog:
    """Binds the correlation id of a request (`X-Request-Id` when it is a UUID); records a metric
    and a log line.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        correlation_id = _correlation_id(scope)
        with correlation.bound(correlation_id):
            await self._handle(scope, receive, send, str(correlation_id))

    async def _handle(
        self, scope: Scope, receive: Receive, send: Send, correlation_id: str
    ) -> None:
        started = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", correlation_id.encode()),
                ]
            await send(message)

        traced = tracing.span("request") if scope["path"] not in QUIET_PATHS else nullcontext()
        try:
            with traced as span:
                await self.app(scope, receive, send_with_id)
                if span is not None:
                    _describe(span, scope, status)
        finally:
            if scope["path"] not in QUIET_PATHS:
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "unmatched")
                _duration(_method(scope), route, status).observe(seconds)
                # The ingress logs each request, so requests that changed nothing are logged at
                # debug level.
                unchanged = scope["method"] in SAFE_METHODS or 400 <= status < 500
                write = log.debug if unchanged else log.info
                write(
                    "request",
                    # The handler may have bound another id since (`correlation.rebind`).
                    correlation_id=correlation_id,
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    milliseconds=round(seconds * 1000, 2),
                    **_outcome(scope),
                )


class SecurityHeaders:
    """Headers that make a browser treat API replies as data and nothing else."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self.app = app
        self.headers = [
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"strict-origin-when-cross-origin"),
            (b"x-frame-options", b"DENY"),
            *(
                [(b"strict-transport-security", b"max-age=31536000; includeSubDomains")]
                if secure
                else []
            ),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        uncached = scope["path"].startswith("/api/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self.headers]
                if uncached and not any(name == b"cache-control" for name, _ in message["headers"]):
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        await self.app(scope, receive, send_with_headers)


class UnexpectedErrors:
    """Answers 500 for an exception without a handler. It is inside RequestLog and SecurityHeaders,
    so the reply has their headers too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:  # the edge of a request
            log.exception("unexpected error", error=repr(error))
            if started:
                raise
            await Problem("something went wrong on our side").response()(scope, receive, send)


class BodyLimit:
    """Answers 413 for a body over `limit` bytes, by its Content-Length or, without one, while it
    arrives.
    """

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self.app(scope, receive, send)
            return
        declared = _header(scope, b"content-length") or b""
        if declared.isdigit() and int(declared) > self.limit:
            await self._refusal()(scope, receive, send)
            return
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise TooLarge(f"a body may have at most {self.limit} bytes")
            return message

        await self.app(scope, bounded, send)

    def _refusal(self) -> ASGIApp:
        return TooLarge(
            f"a body may have at most {self.limit} bytes", headers={"Connection": "close"}
        ).response()


class SameOriginWrites:
    """Answers 403 for a write with a session cookie from a page of another origin.

    Browsers send the page's origin with every cross-site write. A write with neither `Origin` nor
    `Sec-Fetch-Site` comes from no browser, so no foreign page can have caused it. A request with
    a well-formed Bearer token is exempt, because its cookies authenticate nothing (`principal`).
    """

    def __init__(self, app: ASGIApp, *, origins: frozenset[str]) -> None:
        self.app = app
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            headers = Headers(scope=scope)
            if (
                has_session_cookie(headers)
                and not bearer_token(headers)
                and not self._same_origin(headers)
            ):
                refusal = Forbidden(
                    "a page of this origin may not send writes with your session",
                    code="origin_refused",
                ).response()
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _same_origin(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is not None:
            return origin in self.origins
        return headers.get("sec-fetch-site") in {None, "same-origin", "none"}


def has_session_cookie(headers: Headers) -> bool:
    """Whether the request has a session cookie, parsed by the parser that reads the session."""
    return any(
        name.startswith(COOKIE_PREFIX)
        for header in headers.getlist("cookie")
        for name in cookie_parser(header)
    )


# Looking up the child of a metric by its labels costs more than observing a value.
_duration = lru_cache(maxsize=1024)(REQUESTS.labels)


def _method(scope: Scope) -> str:
    """The method as a label: a client may send any word, and a metric keeps each label forever."""
    return scope["method"] if scope["method"] in METHODS else "other"


def _describe(span: Any, scope: Scope, status: int) -> None:
    """Adds the route and the status, which are known after the reply."""
    route = getattr(scope.get("route"), "path", "unmatched")
    span.update_name(f"{_method(scope)} {route}")
    span.set_attribute("http.response.status_code", status)


def _outcome(scope: Scope) -> dict[str, str]:
    """The problem's code and the user's id, as far as the handling of the request set them."""
    found = {"code": scope.get(PROBLEM_CODE), "user_id": scope.get(USER_ID)}
    return {name: str(value) for name, value in found.items() if value is not None}


def _correlation_id(scope: Scope) -> uuid.UUID:
    given = _header(scope, b"x-request-id")
    if given is not None:
        with suppress(ValueError):
            return uuid.UUID(given.decode("latin-1"))
    return uuid.uuid4()


def _header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of this name, in lower case; a mapping would decode each of them first."""
    return next((value for key, value in scope["headers"] if key == name), None)
