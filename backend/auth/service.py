"""Accounts, and sessions with rotating refresh tokens.

A session is a family of refresh tokens, of which the newest is valid. Using a token marks every
unused token of the family as used. A used token that is presented again within REUSE_INTERVAL comes
from a second tab or follows a lost reply, and gets a new token. Presented later, it is a copy, and
the session ends for both holders. Because each use retires its siblings, a token that was stolen
within the interval is detected at the next rotation.

Access tokens are verified without a query. A trigger records each end of a session, whichever
statement causes it, and every process reads the ends (`kernel.ended_sessions`): within a second the
session's access tokens are refused and its sockets are closed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal
from uuid import UUID

import asyncpg

from backend.auth import queries, tokens
from backend.auth.errors import (
    AccountGone,
    BadCredentials,
    EmailTaken,
    HandleTaken,
    RefreshReused,
    SessionEnded,
    TooManyHandles,
)
from backend.auth.model import Account, Issued, PublicUser, User
from backend.auth.passwords import Passwords
from backend.events import outbox
from backend.kernel.database import Connection
from backend.kernel.principal import Principal
from backend.kernel.problems import invalid

REUSE_INTERVAL = timedelta(seconds=20)
PURGE_BATCH = 2_000
MAX_USER_AGENT_LENGTH = 200
# Of one user. It bounds the ends that one sign-out everywhere records.
MAX_SESSIONS = 100

# Separators stand between letters or digits, so that no two handles differ in an end that a reader
# overlooks. `auth.handles` has the same rule.
HANDLE = re.compile(r"(?=.{3,24}\Z)[a-z0-9]+(?:[._-][a-z0-9]+)*")


def handle_of(text: str) -> str:
    """The handle in lower case, as it is stored. Raises Invalid."""
    handle = text.strip().lower()
    # Some letters of other alphabets have a lower case of ASCII.
    if not text.isascii() or not HANDLE.fullmatch(handle):
        raise invalid(
            "handle",
            "must have 3 to 24 characters: letters from a to z, digits, and single . _ - between",
        )
    return handle


async def register(
    connection: Connection, email: str, handle: str | None, password_hash: str
) -> User:
    """Creates an account. Raises EmailTaken, HandleTaken."""
    with _handle_errors():
        account = await queries.add_user(connection, email, handle, password_hash)
    if account is None:
        raise EmailTaken
    await _append(connection, "user.registered", account)
    return account.user


async def current_user(connection: Connection, user_id: UUID) -> User | None:
    return await queries.find_user(connection, user_id)


async def change_handle(connection: Connection, user_id: UUID, handle: str) -> User:
    """Changes the handle. The former one stays reserved for the account (design.md, "Handles").
    Raises HandleTaken, TooManyHandles, AccountGone.
    """
    with _handle_errors():
        account = await queries.change_handle(connection, user_id, handle)
    if account is None:
        user = await queries.find_user(connection, user_id)
        if user is None:
            raise AccountGone
        return user
    await _append(connection, "user.updated", account)
    return account.user


async def set_needs_more_time(connection: Connection, user_id: UUID, needs: bool) -> User:
    """Switches the extension of holds on or off. Publishes no event: a consumer needs no fact about
    a user's health. Raises AccountGone.
    """
    if not await queries.set_needs_more_time(connection, user_id, needs):
        raise AccountGone
    user = await queries.find_user(connection, user_id)
    assert user is not None, "the transaction has locked the account"
    return user


async def find(connection: Connection, email: str) -> Account | None:
    return await queries.find_account(connection, email)


async def authenticate(
    account: Account | None, passwords: Passwords, password: str, address: str
) -> Account:
    """Returns the account. Raises BadCredentials, after equal work for an unknown email and a
    wrong password.

    Called without a database connection: a check may queue for longer than a request may hold a
    connection.
    """
    matches = await passwords.verify(
        account.password_hash if account else passwords.decoy, password, address=address
    )
    if account is None or not matches:
        raise BadCredentials
    return account


async def rehash(account: Account, passwords: Passwords, password: str, address: str) -> str | None:
    """The hash with the current parameters, or None when the stored one has them. Called without
    a connection.
    """
    if not passwords.outdated(account.password_hash):
        return None
    return await passwords.hash(password, address=address)


async def upgrade(connection: Connection, account: Account, newer_hash: str | None) -> None:
    """Store the newer hash, unless the password was changed meanwhile."""
    if newer_hash:
        await queries.replace_hash(connection, account, newer_hash)


async def open_session(
    connection: Connection,
    user: User,
    *,
    user_agent: str,
    lifetime: timedelta,
    replaces: str | None,
) -> Issued:
    """Creates a session with its first refresh token, and ends the session of the browser's token
    `replaces`, and those of the user's sessions above MAX_SESSIONS that are unused for the longest
    time.
    """
    await end_sessions(connection, replaces, None)
    await queries.revoke_sessions_of(connection, user.id, newest=MAX_SESSIONS - 1)
    agent = "".join(filter(str.isprintable, user_agent))[:MAX_USER_AGENT_LENGTH]
    session_id = await queries.add_session(connection, user.id, agent)
    return await _issue(connection, user, session_id, tokens.new_refresh_token(), lifetime)


async def refresh(
    connection: Connection, presented: str, lifetime: timedelta
) -> Issued | SessionEnded | RefreshReused:
    """The session's next credentials. Errors are returned, not raised, since ending a copied
    session must be committed.

    Two refreshes of one token wait for the row lock of the session. The first rotates; the second
    reads its token as just used, so it returns a sibling of the first's token and revokes
    nothing.
    """
    token_hash = tokens.digest(presented)
    session = await queries.lock_session(connection, token_hash)
    if session is None or session.revoked:
        return SessionEnded()
    state = await queries.token_state(connection, token_hash, REUSE_INTERVAL)
    if state is None or state.expired:
        return SessionEnded()
    if state.used and not state.in_reuse_interval:
        await queries.revoke_sessions(connection, [session.id])
        return RefreshReused(session.user.id)
    successor = tokens.new_refresh_token()
    if not state.used:
        retired = await queries.use_tokens(connection, session.id, tokens.digest(successor))
        assert retired >= 1, "the presented token was unused under the session's lock"
    return await _issue(connection, session.user, session.id, successor, lifetime)


async def end_sessions(
    connection: Connection, presented: str | None, principal: Principal | None
) -> None:
    """End the sessions of the refresh token and of the access token, if there are any."""
    named = await queries.session_of(connection, tokens.digest(presented)) if presented else None
    sessions = {named, principal and principal.session_id}
    await queries.revoke_sessions(connection, [session_id for session_id in sessions if session_id])


async def end_every_session(connection: Connection, user_id: UUID) -> None:
    await queries.revoke_sessions_of(connection, user_id)


async def purge(connection: Connection, lifetime: timedelta) -> bool:
    """Delete a batch of expired tokens, sessions and ends. Returns whether there may be more."""
    deleted = await queries.purge_tokens(connection, PURGE_BATCH)
    deleted += await queries.purge_sessions(connection, lifetime, PURGE_BATCH)
    deleted += await queries.purge_ended_sessions(connection, PURGE_BATCH)
    return deleted >= PURGE_BATCH


async def _issue(
    connection: Connection, user: User, session_id: UUID, refresh_token: str, lifetime: timedelta
) -> Issued:
    issued_at = await queries.add_token(
        connection, session_id, tokens.digest(refresh_token), lifetime
    )
    return Issued(user, session_id, refresh_token, issued_at)


async def _append(
    connection: Connection, type: Literal["user.registered", "user.updated"], account: Account
) -> None:
    user = PublicUser(account.user.id, account.user.handle, account.created_at)
    await outbox.append(connection, type, user.id, account.version, user)


@contextmanager
def _handle_errors() -> Iterator[None]:
    """Translates the refusals of the trigger `claim_handle`."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "handles_taken":
            raise
        raise HandleTaken from error
    except asyncpg.CheckViolationError as error:
        if error.constraint_name != "handles_released_often":
            raise
        raise TooManyHandles from error
