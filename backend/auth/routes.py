"""The routes under /api/users.

Both credentials are httpOnly cookies; the access token is also accepted as a Bearer token. No
body contains them, since scripts of a page could read it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import NamedTuple, TypeVar
from uuid import UUID

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.auth import email_address, service
from backend.auth.errors import BadCredentials, RefreshReused, SessionEnded
from backend.auth.limits import Limits
from backend.auth.model import CurrentUser, Issued, SignIn, SignOut, SignUp, User, UserChange
from backend.auth.passwords import Passwords
from backend.auth.tokens import Signer
from backend.events.outbox import RelayWaker
from backend.kernel import database, principal
from backend.kernel.client_address import Network, client_ip
from backend.kernel.database import Pool
from backend.kernel.openapi import describe
from backend.kernel.problems import BadRequest, Invalid
from backend.kernel.web import media_type, read_json, read_query, reply

log = structlog.get_logger()

T = TypeVar("T")
CloseSockets = Callable[[UUID], Awaitable[None]]

REFRESH_COOKIE = "gittix_refresh"
REFRESH_PATH = "/api/users"
CLOSE_SOCKETS_SECONDS = 2.0


class Auth(NamedTuple):
    """The resources of the handlers, opened by the lifespan."""

    pool: Pool
    wake_relay: RelayWaker
    passwords: Passwords
    limits: Limits
    signer: Signer
    refresh_lifetime: timedelta
    secure_cookies: bool
    proxies: Iterable[Network]
    close_sockets: CloseSockets | None


@describe(tag="users", body=SignUp, created=CurrentUser, problems=(400, 409, 429, 503), public=True)
async def sign_up(request: Request) -> Response:
    """Sign up

    Creates an account and signs it in. Takes no Idempotency-Key: keys belong to users, and a
    repeated request returns 409 `email_taken` instead of a second account.
    """
    auth = _auth(request)
    body = await _read(request, SignUp)
    email = email_address.canonical(body.email)
    handle = None if body.handle is None else service.handle_of(body.handle)
    address = client_ip(request, auth.proxies)
    async with auth.limits.sign_up(address):
        await auth.passwords.require_strength(
            body.password, known=(email, handle or ""), address=address
        )
        password_hash = await auth.passwords.hash(body.password, address=address)
    async with database.transaction(auth.pool) as connection:
        user = await service.register(connection, email, handle, password_hash)
        issued = await _open_session(request, connection, user)
    log.info("signed up", user_id=str(user.id), client=address)
    auth.wake_relay()
    return _signed_in(auth, issued, 201)


@describe(tag="users", body=SignIn, ok=CurrentUser, problems=(400, 401, 429, 503), public=True)
async def sign_in(request: Request) -> Response:
    """Sign in

    A wrong password and an unknown email return the same error: 401 `bad_credentials`.
    """
    auth = _auth(request)
    body = await _read(request, SignIn)
    email = email_address.canonical(body.email)
    address = client_ip(request, auth.proxies)
    async with auth.limits.sign_in(email, address):
        async with database.connection(auth.pool) as connection:
            found = await service.find(connection, email)
        try:
            account = await service.authenticate(found, auth.passwords, body.password, address)
        except BadCredentials:
            user_id = str(found.user.id) if found else None
            log.warning("sign-in refused", user_id=user_id, client=address)
            raise
        newer_hash = await service.rehash(account, auth.passwords, body.password, address)
        async with database.transaction(auth.pool) as connection:
            await service.upgrade(connection, account, newer_hash)
            issued = await _open_session(request, connection, account.user)
    log.info("signed in", user_id=str(account.user.id), client=address)
    return _signed_in(auth, issued, 200)


@describe(tag="users", body=None, ok=CurrentUser, problems=(401, 429), public=True)
async def refresh(request: Request) -> Response:
    """Refresh the session

    Takes the refresh cookie and returns new credentials; each refresh token works once. An error
    clears the cookies: 401 `session_ended`, or `refresh_reused` when a used token was presented
    again, which ends the session.
    """
    auth = _auth(request)
    await auth.limits.refresh(client_ip(request, auth.proxies))
    async with database.transaction(auth.pool) as connection:
        outcome = await service.refresh(
            connection, principal.cookie(request, REFRESH_COOKIE) or "", auth.refresh_lifetime
        )
    if isinstance(outcome, RefreshReused):
        log.warning("a used refresh token was presented again", user_id=str(outcome.user_id))
        await _close_sockets(auth, outcome.user_id)
    if isinstance(outcome, SessionEnded | RefreshReused):
        return _without_cookies(auth, outcome.response())
    return _signed_in(auth, outcome, 200)


@describe(tag="users", body=None, query=SignOut, no_content=None, problems=(401,), public=True)
async def sign_out(request: Request) -> Response:
    """Sign out

    Ends the session and clears its cookies; succeeds without a session too. `everywhere=true`
    ends every session of the user, and requires a session (401). Within a second, access tokens and
    sockets of the ended sessions end too.
    """
    auth = _auth(request)
    everywhere = read_query(request, SignOut).everywhere
    user = principal.require(request) if everywhere else principal.current(request)
    async with database.transaction(auth.pool) as connection:
        if everywhere and user:
            await service.end_every_session(connection, user.user_id)
        else:
            await service.end_sessions(connection, principal.cookie(request, REFRESH_COOKIE), user)
    if everywhere and user:
        await _close_sockets(auth, user.user_id)
    return _without_cookies(auth, Response(status_code=204))


@describe(tag="users", ok=CurrentUser, public=True)
async def current_user(request: Request) -> Response:
    """Current user

    `current_user` is null without a session.
    """
    found = principal.current(request)
    if found is None:
        return reply(CurrentUser(None))
    async with database.connection(_auth(request).pool) as connection:
        return reply(_shown(await service.current_user(connection, found.user_id)))


@describe(tag="users", body=UserChange, ok=CurrentUser, problems=(401, 409, 429))
async def change_user(request: Request) -> Response:
    """Change the current user

    Takes `handle`, `needs_more_time` or both. Every ticket of the user shows a new handle at once.
    A handle that is reserved, or that another account has or had in the last 90 days, returns 409
    `handle_taken`; the sixth change in 90 days returns 409 `too_many_handles`, unless it takes back
    a former handle. `needs_more_time` lets the user extend each unpaid hold once. Takes no
    Idempotency-Key: a repeated request changes nothing.
    """
    user_id = principal.require(request).user_id
    auth = _auth(request)
    change = await read_json(request, UserChange)
    if change.handle is None and change.needs_more_time is None:
        raise Invalid("nothing is changed: give handle, needs_more_time or both")
    handle = None if change.handle is None else service.handle_of(change.handle)
    if handle is not None:
        await auth.limits.change_handle(user_id)
    changed: User | None = None
    async with database.transaction(auth.pool) as connection:
        if handle is not None:
            changed = await service.change_handle(connection, user_id, handle)
        if change.needs_more_time is not None:
            changed = await service.set_needs_more_time(connection, user_id, change.needs_more_time)
    auth.wake_relay()
    return reply(_shown(changed))


ROUTES = [
    Route("/api/users/signup", sign_up, methods=["POST"]),
    Route("/api/users/signin", sign_in, methods=["POST"]),
    Route("/api/users/signout", sign_out, methods=["POST"]),
    Route("/api/users/refresh", refresh, methods=["POST"]),
    Route("/api/users/currentuser", current_user, methods=["GET"]),
    Route("/api/users/currentuser", change_user, methods=["PUT"]),
]


def _auth(request: Request) -> Auth:
    auth: Auth = request.state.auth
    return auth


async def _read(request: Request, model: type[T]) -> T:
    """The body of a request with the content type application/json. Raises BadRequest, Invalid.

    A foreign page can post a form or plain text without a CORS preflight, and so sign its visitor
    in to an account of the attacker. Such a request has no session cookie yet, so
    SameOriginWrites does not apply. With the content type JSON, the browser sends a preflight,
    which fails.
    """
    if media_type(request) != "application/json":
        raise BadRequest("the content type must be application/json", code="not_json")
    return await read_json(request, model)


async def _open_session(request: Request, connection: database.Connection, user: User) -> Issued:
    return await service.open_session(
        connection,
        user,
        user_agent=request.headers.get("user-agent", ""),
        lifetime=_auth(request).refresh_lifetime,
        replaces=principal.cookie(request, REFRESH_COOKIE),
    )


async def _close_sockets(auth: Auth, user_id: UUID) -> None:
    """Close the user's sockets at hosted Pusher, after the commit. A failure is only logged: the
    sessions have ended.
    """
    if auth.close_sockets is None:
        return
    try:
        async with asyncio.timeout(CLOSE_SOCKETS_SECONDS):
            await auth.close_sockets(user_id)
    except Exception as error:  # the sessions have ended, and push may fail in any way
        log.warning("sockets were not closed", user_id=str(user_id), error=repr(error))


def _shown(user: User | None) -> CurrentUser:
    """The user with an email that people can read."""
    if user is None:
        return CurrentUser(None)
    return CurrentUser(msgspec.structs.replace(user, email=email_address.display(user.email)))


def _signed_in(auth: Auth, issued: Issued, status: int) -> Response:
    response = reply(_shown(issued.user), status)
    access_token = auth.signer.access_token(issued.user, issued.session_id, issued.issued_at)
    _set_cookie(
        auth, response, principal.SESSION_COOKIE, access_token, "/", auth.signer.access_seconds
    )
    lifetime = int(auth.refresh_lifetime.total_seconds())
    _set_cookie(auth, response, REFRESH_COOKIE, issued.refresh_token, REFRESH_PATH, lifetime)
    return response


def _without_cookies(auth: Auth, response: Response) -> Response:
    _set_cookie(auth, response, principal.SESSION_COOKIE, "", "/", 0)
    _set_cookie(auth, response, REFRESH_COOKIE, "", REFRESH_PATH, 0)
    return response


def _set_cookie(
    auth: Auth, response: Response, name: str, value: str, path: str, max_age: int
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=max_age,
        path=path,
        httponly=True,
        samesite="lax",
        secure=auth.secure_cookies,
    )
