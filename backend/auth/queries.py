"""The SQL of auth. Times are those of Postgres; emails are in lower case."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from backend.auth.model import Account, Session, TokenState, User
from backend.kernel.database import Connection, Record


async def add_user(
    connection: Connection, email: str, handle: str | None, password_hash: str
) -> Account | None:
    """The new account, or None when the email has an account. A handle is generated unless given.

    Raises asyncpg.UniqueViolationError for a handle that is not free.
    """
    row = await connection.fetchrow(
        """
        insert into auth.users (email, handle, password_hash) values ($1, $2, $3)
        on conflict (lower(email)) do nothing
        returning id, email, handle, needs_more_time, password_hash, version, created_at
        """,
        email,
        handle,
        password_hash,
    )
    return _account(row) if row else None


async def find_account(connection: Connection, email: str) -> Account | None:
    row = await connection.fetchrow(
        """
        select id, email, handle, needs_more_time, password_hash, version, created_at
        from auth.users where lower(email) = $1
        """,
        email,
    )
    return _account(row) if row else None


async def find_user(connection: Connection, user_id: UUID) -> User | None:
    row = await connection.fetchrow(
        "select id, email, handle, needs_more_time from auth.users where id = $1", user_id
    )
    return _user(row) if row else None


async def change_handle(connection: Connection, user_id: UUID, handle: str) -> Account | None:
    """The changed account, or None if the account is gone or has this handle already.

    Raises asyncpg.UniqueViolationError for a handle that is not free, and
    asyncpg.CheckViolationError for an account that released too many.
    """
    row = await connection.fetchrow(
        """
        update auth.users set handle = $2, version = version + 1 where id = $1 and handle <> $2
        returning id, email, handle, needs_more_time, password_hash, version, created_at
        """,
        user_id,
        handle,
    )
    return _account(row) if row else None


async def set_needs_more_time(connection: Connection, user_id: UUID, needs: bool) -> bool:
    """Returns whether the account exists."""
    done = await connection.execute(
        "update auth.users set needs_more_time = $2 where id = $1", user_id, needs
    )
    return done == "UPDATE 1"


async def replace_hash(connection: Connection, account: Account, password_hash: str) -> None:
    """Store the hash, unless the password was changed since `account` was read."""
    await connection.execute(
        """
        update auth.users set password_hash = $3 where id = $1 and password_hash = $2
        """,
        account.user.id,
        account.password_hash,
        password_hash,
    )


async def add_session(connection: Connection, user_id: UUID, user_agent: str) -> UUID:
    session_id: UUID = await connection.fetchval(
        """
        insert into auth.sessions (user_id, user_agent) values ($1, $2) returning id
        """,
        user_id,
        user_agent,
    )
    return session_id


async def lock_session(connection: Connection, token_hash: bytes) -> Session | None:
    """The session of this refresh token, used or not, locked."""
    row = await connection.fetchrow(
        """
        select s.id as session_id, s.revoked_at is not null as revoked, u.id, u.email, u.handle,
               u.needs_more_time
        from auth.sessions s join auth.users u on u.id = s.user_id
        where s.id = (select session_id from auth.refresh_tokens where hash = $1)
        for no key update of s
        """,
        token_hash,
    )
    return Session(row["session_id"], _user(row), row["revoked"]) if row else None


async def token_state(
    connection: Connection, token_hash: bytes, reuse_interval: timedelta
) -> TokenState | None:
    """The state of a refresh token, or None for a purged one.

    A separate statement after `lock_session`, so that it reads the row that a concurrent refresh
    committed.
    """
    row = await connection.fetchrow(
        """
        select expires_at <= clock_timestamp() as expired,
               used_at is not null as used,
               coalesce(used_at > clock_timestamp() - $2::interval, false)
                   as in_reuse_interval
        from auth.refresh_tokens where hash = $1
        """,
        token_hash,
        reuse_interval,
    )
    return TokenState(**dict(row)) if row else None


async def use_tokens(connection: Connection, session_id: UUID, replaced_by: bytes) -> int:
    """Mark every unused token of the session as used. Returns their number."""
    done = await connection.execute(
        """
        update auth.refresh_tokens set used_at = clock_timestamp(), replaced_by = $2
        where session_id = $1 and used_at is null
        """,
        session_id,
        replaced_by,
    )
    return int(done.rpartition(" ")[2])


async def add_token(
    connection: Connection, session_id: UUID, token_hash: bytes, lifetime: timedelta
) -> datetime:
    """Add a refresh token to the session. Returns the time of issue."""
    issued_at: datetime = await connection.fetchval(
        """
        with issued as (
            insert into auth.refresh_tokens (hash, session_id, issued_at, expires_at)
            values ($2, $1, clock_timestamp(), clock_timestamp() + $3::interval)
            returning issued_at
        )
        update auth.sessions set last_used_at = issued.issued_at
        from issued where id = $1 returning issued.issued_at
        """,
        session_id,
        token_hash,
        lifetime,
    )
    return issued_at


async def session_of(connection: Connection, token_hash: bytes) -> UUID | None:
    session_id: UUID | None = await connection.fetchval(
        """
        select session_id from auth.refresh_tokens where hash = $1
        """,
        token_hash,
    )
    return session_id


async def revoke_sessions(connection: Connection, session_ids: Sequence[UUID]) -> None:
    await connection.execute(
        """
        with live as (
            select id from auth.sessions where id = any($1::uuid[]) and revoked_at is null
            order by id for no key update
        )
        update auth.sessions s set revoked_at = clock_timestamp() from live where s.id = live.id
        """,
        session_ids,
    )


async def revoke_sessions_of(connection: Connection, user_id: UUID, *, newest: int = 0) -> None:
    """End the user's sessions, except the `newest` ones."""
    await connection.execute(
        """
        with live as (
            select id from auth.sessions
            where revoked_at is null and id in (
                select id from auth.sessions where user_id = $1 and revoked_at is null
                order by last_used_at desc, id desc offset $2
            )
            order by id for no key update
        )
        update auth.sessions s set revoked_at = clock_timestamp() from live where s.id = live.id
        """,
        user_id,
        newest,
    )


async def purge_tokens(connection: Connection, batch: int) -> int:
    """Delete up to `batch` expired refresh tokens. Returns their number."""
    done = await connection.execute(
        """
        delete from auth.refresh_tokens where hash in (
            select hash from auth.refresh_tokens
            where expires_at < now() limit $1 for update skip locked
        )
        """,
        batch,
    )
    return int(done.rpartition(" ")[2])


async def purge_sessions(connection: Connection, unused: timedelta, batch: int) -> int:
    """Delete up to `batch` sessions without tokens, unused for `unused`. Returns their number."""
    done = await connection.execute(
        """
        delete from auth.sessions where id in (
            select id from auth.sessions s
            where last_used_at < now() - $1::interval
              and not exists (select from auth.refresh_tokens t where t.session_id = s.id)
            limit $2 for update skip locked
        )
        """,
        unused,
        batch,
    )
    return int(done.rpartition(" ")[2])


async def purge_ended_sessions(connection: Connection, batch: int) -> int:
    """Delete up to `batch` ends that are older than any access token. Returns their number."""
    done = await connection.execute(
        """
        delete from auth.ended_sessions where session_id in (
            select session_id from auth.ended_sessions
            where ended_at < now() - interval '2 days' limit $1
        )
        """,
        batch,
    )
    return int(done.rpartition(" ")[2])


def _account(row: Record) -> Account:
    return Account(_user(row), row["password_hash"], row["version"], row["created_at"])


def _user(row: Record) -> User:
    return User(row["id"], row["email"], row["handle"], needs_more_time=row["needs_more_time"])
