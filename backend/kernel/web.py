"""The web app factory: components in, one Starlette application out.

A component is a service's part of an application: its routes, and a lifespan that opens the
resources they need. `build` wraps any number of components in the same middleware, error mapping
and operational routes, so that a service replies alike in its own process and beside the others.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import redis.exceptions
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from backend.kernel import database, health
from backend.kernel.decoding import Malformed, decode_json, decode_pairs
from backend.kernel.ended_sessions import MAX_DELAY_SECONDS, TASK
from backend.kernel.health import Check
from backend.kernel.live_sessions import LiveSessions
from backend.kernel.middleware import (
    BodyLimit,
    RequestLog,
    SameOriginWrites,
    SecurityHeaders,
    UnexpectedErrors,
)
from backend.kernel.openapi import openapi_routes
from backend.kernel.peer_processes import PeerProcesses
from backend.kernel.principal import TokenVerifier
from backend.kernel.problems import (
    BadRequest,
    Invalid,
    NotFound,
    Problem,
    TooLarge,
    Unavailable,
    invalid,
)
from backend.kernel.supervisor import running
from backend.kernel.validation import invalid_input, not_json

log = structlog.get_logger()

T = TypeVar("T")
State = dict[str, Any]


class Component(NamedTuple):
    """A service's part of an application. Its `lifespan` yields the state, available as
    `request.state.<name>`.
    """

    name: str
    routes: Sequence[BaseRoute]
    lifespan: Callable[[], AbstractAsyncContextManager["ComponentState"]]


class ComponentState(NamedTuple):
    """The resources that a lifespan opened, and their readiness checks."""

    value: Any
    checks: Mapping[str, Check]


def build(
    components: Sequence[Component],
    *,
    verifier: TokenVerifier | None,
    origins: frozenset[str] = frozenset(),
    secure: bool = False,
    routes: Sequence[BaseRoute] = (),
    described: Sequence[BaseRoute] = (),
    limits: Sequence[Middleware] = (),
    max_body_bytes: int = 256 * 1024,
    peers: PeerProcesses | None = None,
) -> Starlette:
    """One application of these components. It reads the ended sessions for its `verifier`.

    Pages of `origins` may send cookie-authenticated writes; `secure` adds HSTS; `limits` is
    middleware that runs before the body is read; `described` are the routes of the OpenAPI
    document, by default those of the components; `peers` are processes whose readiness and
    metrics are included.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            state: State = {"verifier": verifier, "checks": {}}
            if verifier is not None:
                ended_sessions = verifier.ended_sessions
                await stack.enter_async_context(
                    running((TASK, ended_sessions.run), max_delay=MAX_DELAY_SECONDS)
                )
                # Else the first requests would wait. Without Postgres the process starts unready.
                with suppress(Unavailable):
                    await ended_sessions.until_current()
                state["checks"]["sessions"] = ended_sessions.check
            for component in components:
                opened = await stack.enter_async_context(component.lifespan())
                state[component.name] = opened.value
                state["checks"] |= {
                    f"{component.name}.{name}": check for name, check in opened.checks.items()
                }
            yield state

    api = [route for component in components for route in component.routes]
    app = Starlette(
        routes=[*api, *openapi_routes(described or api), *health.routes(peers), *routes],
        middleware=[
            Middleware(RequestLog),
            Middleware(SecurityHeaders, secure=secure),
            Middleware(UnexpectedErrors),
            *limits,
            Middleware(BodyLimit, limit=max_body_bytes),
            Middleware(SameOriginWrites, origins=origins),
            *(
                [Middleware(LiveSessions, ended_sessions=verifier.ended_sessions)]
                if verifier is not None
                else []
            ),
        ],
        exception_handlers={
            Problem: _problem,
            HTTPException: _http_exception,
            ClientDisconnect: _disconnected,
            **dict.fromkeys(database.UNAVAILABLE, _unavailable),
            redis.exceptions.RedisError: _unavailable,
            **dict.fromkeys(database.UNSTORABLE, _data_error),
        },
        lifespan=lifespan,
    )
    # Each resource has one URL, and a redirect would repeat the Host header of the caller.
    app.router.redirect_slashes = False
    return app


async def read_json(request: Request, model: type[T]) -> T:
    """Decode the body as `model`. Raises BadRequest for malformed JSON, Invalid with the path of
    an invalid field.
    """
    body = await request.body()
    try:
        decoded = decode_json(body, model)
        if b"\\u0000" in body:
            _refuse_nul(decode_json(body, Any))
    except msgspec.ValidationError as error:
        raise invalid_input(error, model) from error
    except Malformed as error:
        raise not_json(error) from error
    return decoded


def read_query(request: Request, model: type[T]) -> T:
    """Convert the query string to `model`, with numbers and booleans from text. Raises Invalid."""
    try:
        return _read_pairs(request.scope["query_string"], model)
    except Malformed as error:
        raise Invalid(f"the query string {error}") from error


async def read_form(request: Request, model: type[T]) -> T:
    """Convert an urlencoded form to `model`. Raises BadRequest for a form that is malformed or of
    another content type, Invalid.
    """
    if media_type(request) != "application/x-www-form-urlencoded":
        raise BadRequest(
            "the content type must be application/x-www-form-urlencoded", code="not_a_form"
        )
    try:
        return _read_pairs(await request.body(), model)
    except Malformed as error:
        raise BadRequest(f"the form {error}", code="not_a_form") from error


def media_type(request: Request) -> str:
    """The content type in lower case, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def reply(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response, encoded by msgspec."""
    return Response(
        msgspec.json.encode(body), status, headers=headers, media_type="application/json"
    )


def path_id(request: Request, missing: type[NotFound]) -> UUID:
    """The `{id}` of the path. Raises `missing` when it is not a UUID."""
    try:
        return UUID(request.path_params["id"])
    except ValueError as error:
        raise missing from error


def if_match(request: Request) -> int | None:
    """The version of the If-Match header, or None when any version matches. Raises Invalid."""
    tag = request.headers.get("if-match", "*").strip()
    if tag == "*":
        return None
    version = tag.removeprefix("W/").strip('"')
    if not (version.isascii() and version.isdigit() and len(version) < 19):
        raise invalid("If-Match", "must be the ETag of an earlier reply")
    return int(version)


def _read_pairs(text: bytes, model: type[T]) -> T:
    """The last value of each name, as `model`. Raises Invalid, Malformed."""
    fields = dict(decode_pairs(text))
    _refuse_nul(fields)
    try:
        return msgspec.convert(fields, model, strict=False)
    except msgspec.ValidationError as error:
        raise invalid_input(error, model) from error


def _refuse_nul(value: Any) -> None:
    """Raises Invalid for a text with NUL, which Postgres cannot store."""
    if isinstance(value, str):
        if "\x00" in value:
            raise Invalid("text must not contain NUL characters", code="nul_character")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _refuse_nul(name)
            _refuse_nul(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_nul(item)


async def _problem(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return problem.response()


async def _http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return NotFound().response()
    if error.status_code == 413:
        return TooLarge().response()
    problem = Problem(
        error.detail, code="method_not_allowed" if error.status_code == 405 else "http_error"
    )
    # The status of a Starlette exception is known only at run time.
    problem.status = error.status_code  # type: ignore[misc]
    problem.headers = dict(error.headers or {})
    return problem.response()


async def _disconnected(_request: Request, _error: Exception) -> Response:
    return BadRequest("the request ended before its body did", code="incomplete_body").response()


async def _unavailable(_request: Request, error: Exception) -> Response:
    log.warning("Postgres or Redis is unavailable", error=repr(error))
    return Unavailable("try again in a moment", headers={"Retry-After": "1"}).response()


async def _data_error(_request: Request, error: Exception) -> Response:
    log.info("input refused by the database", error=repr(error))
    return Invalid("a value is outside what can be stored").response()
