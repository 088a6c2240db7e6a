"""What auth does: accounts, and sessions that rotate their refresh tokens.

A session is a family of refresh tokens, of which the newest works. Using one makes every other unused token of the
family a used one. A used token that comes back within 20 s is two tabs, or a reply that got lost, and is answered with a
fresh token; later it is a copy in other hands, and the session ends for both. Because a use retires its siblings as
well, a token that a thief won within the grace is found out at the next rotation.

Access tokens are not looked up: one of a session that ended works until it expires, JWT_ACCESS_SECONDS (300) at most.
"""

import re
from datetime import timedelta
from uuid import UUID

from backend.auth import queries, tokens
from backend.auth.errors import BadCredentials, EmailTaken, RefreshReused, SessionEnded
from backend.auth.model import MAX_EMAIL_LENGTH, MAX_NAME_LENGTH, Account, Issued, Registered, User
from backend.auth.passwords import Passwords
from backend.events import outbox
from backend.kernel.database import Connection
from backend.kernel.principal import Principal
from backend.kernel.problems import invalid
from backend.kernel.text import clean_optional

GRACE = timedelta(seconds=20)
PURGE_BATCH = 2_000
MAX_USER_AGENT_LENGTH = 200

# What browsers take for an email address (WHATWG HTML, "valid email address"), with a dot in its domain and the length
# that RFC 5321 gives a local part.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
EMAIL = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+")


def email_of(text: str) -> str:
    """The address in the one spelling we keep. Raises Invalid."""
    email = text.strip()
    if len(email) > MAX_EMAIL_LENGTH or not EMAIL.fullmatch(email):
        raise invalid("email", "not an email address")
    return email.lower()


def name_of(text: str | None, email: str) -> str:
    """The name to show; the email's local part when none is given. Raises Invalid."""
    name = clean_optional("name", text) or email.partition("@")[0]
    if len(name) > MAX_NAME_LENGTH:
        raise invalid("name", f"at most {MAX_NAME_LENGTH} characters")
    return name


async def register(connection: Connection, email: str, name: str, password_hash: str) -> User:
    """A new account. Raises EmailTaken."""
    account = await queries.add_user(connection, email, name, password_hash)
    if account is None:
        raise EmailTaken
    registered = Registered(account.user.id, account.user.name, account.created_at)
    await outbox.append(connection, "user.registered", account.user.id, account.version, registered)
    return account.user


async def find(connection: Connection, email: str) -> Account | None:
    return await queries.find_account(connection, email)


async def authenticate(account: Account | None, passwords: Passwords, password: str) -> Account:
    """The account, if the password is its own. Raises BadCredentials, after the same work for an unknown email.

    Called with no connection in hand: a check may wait in line for longer than a request may keep one.
    """
    matches = await passwords.verify(
        account.password_hash if account else passwords.decoy, password
    )
    if account is None or not matches:
        raise BadCredentials
    return account


async def rehash(account: Account, passwords: Passwords, password: str) -> str | None:
    """The password's hash by today's parameters, if the stored one was made by others. With no connection in hand."""
    return await passwords.hash(password) if passwords.outdated(account.password_hash) else None


async def upgrade(connection: Connection, account: Account, newer_hash: str | None) -> None:
    """Keep the newer hash, unless the password was changed meanwhile."""
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
    """A session with its first refresh token. It ends the one that the browser's token `replaces` belongs to."""
    await end_sessions(connection, replaces, None)
    agent = "".join(filter(str.isprintable, user_agent))[:MAX_USER_AGENT_LENGTH]
    session_id = await queries.add_session(connection, user.id, agent)
    return await _issue(connection, user, session_id, tokens.new_refresh_token(), lifetime)


async def refresh(
    connection: Connection, presented: str, lifetime: timedelta
) -> Issued | SessionEnded | RefreshReused:
    """The session's next credentials. A refusal is returned, not raised: ending a copied session must be committed.

    Two refreshes of one token queue at the session's row. The first rotates; the second then reads its token as used a
    moment ago, so it gets a sibling of the first's and nothing is revoked.
    """
    token_hash = tokens.digest(presented)
    session = await queries.lock_session(connection, token_hash)
    if session is None or session.revoked:
        return SessionEnded()
    state = await queries.token_state(connection, token_hash, GRACE)
    if state is None or state.expired:
        return SessionEnded()
    if state.used and not state.in_grace:
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
    """Sign out the session that the refresh token or the access token names; nothing happens when neither does."""
    named = await queries.session_of(connection, tokens.digest(presented)) if presented else None
    sessions = {named, principal and principal.session_id}
    await queries.revoke_sessions(connection, [session_id for session_id in sessions if session_id])


async def end_every_session(connection: Connection, user_id: UUID) -> None:
    await queries.revoke_sessions_of(connection, user_id)


async def purge(connection: Connection, lifetime: timedelta) -> bool:
    """Forget a batch of what can never be used again. Returns whether there may be more."""
    forgotten = await queries.purge_tokens(connection, PURGE_BATCH)
    forgotten += await queries.purge_sessions(connection, lifetime, PURGE_BATCH)
    return forgotten >= PURGE_BATCH


async def _issue(
    connection: Connection, user: User, session_id: UUID, refresh_token: str, lifetime: timedelta
) -> Issued:
    issued_at = await queries.add_token(
        connection, session_id, tokens.digest(refresh_token), lifetime
    )
    return Issued(user, session_id, refresh_token, issued_at)
