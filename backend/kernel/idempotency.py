"""Idempotency-Key: the same request twice gives the reply of the first, byte for byte.

The key's advisory lock, the work and the stored reply are one transaction, so a crash leaves nothing behind. Only what
a repeat must not change is stored: not 409, 429 or 5xx. Keys are per user and live a day. Every noun has a table
`idempotency_keys` in its own schema.

The routes of sessions take none: there is no user yet, an e-mail address signs up once, and their replies carry secrets
that nobody should keep.
"""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from backend.kernel import database
from backend.kernel.database import Connection, Pool
from backend.kernel.metrics import IDEMPOTENCY
from backend.kernel.problems import Conflict, Invalid, Problem

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
MAX_KEY_LENGTH = 255
UNSTORED = frozenset({409, 429})

Schema = Literal["auth", "tickets", "orders", "payments"]
Handler = Callable[[Connection], Awaitable[Response]]


class Stored(msgspec.Struct, frozen=True):
    """A reply kept under a key."""

    fingerprint: bytes
    status: int
    headers: dict[str, str]
    body: bytes


def key_of(request: Request) -> str | None:
    """The request's key, or None. Raises Invalid for an unusable one."""
    key = request.headers.get(HEADER)
    if key is not None and not (0 < len(key) <= MAX_KEY_LENGTH and key.isprintable()):
        raise Invalid(
            f"{HEADER} must have 1 to {MAX_KEY_LENGTH} printable characters",
            code="bad_idempotency_key",
        )
    return key


async def fingerprint(request: Request) -> bytes:
    """A digest of everything that makes two requests the same one."""
    scope = request.scope
    parts = (
        f"{request.method} {scope['path']}?".encode(),
        scope["query_string"],
        f"\n{request.headers.get('if-match', '')}\n".encode(),
        await request.body(),
    )
    return sha256(b"".join(parts)).digest()


async def once(
    request: Request, pool: Pool, schema: Schema, user_id: UUID, handler: Handler
) -> Response:
    """Run `handler` in a transaction, once for each Idempotency-Key of this user; without a key, just run it.

    Raises Conflict while the key's first request is in flight, Invalid when the key came with another request.
    """
    key = key_of(request)
    if key is None:
        async with database.transaction(pool) as connection:
            return await handler(connection)
    digest = await fingerprint(request)
    refusal: Problem | None = None
    async with database.transaction(pool) as connection:
        await _take(connection, schema, user_id, key)
        stored = await _find(connection, schema, user_id, key)
        if stored is not None:
            return replayed(stored, digest)
        try:
            async with connection.transaction():
                response = await handler(connection)
        except Problem as problem:
            if problem.status in UNSTORED or problem.status >= 500:
                raise
            refusal, response = problem, problem.response()
        await store(connection, schema, user_id, key, digest, response)
    return refusal.response() if refusal else response


def in_flight() -> Conflict:
    IDEMPOTENCY.labels("in_flight").inc()
    return Conflict(
        "the first request with this key is still running",
        code="idempotency_key_in_flight",
        headers={"Retry-After": "1"},
    )


def reused() -> Invalid:
    IDEMPOTENCY.labels("reused").inc()
    return Invalid("this key was used for another request", code="idempotency_key_reused")


def replayed(stored: Stored, digest: bytes) -> Response:
    """The stored reply. Raises Invalid when it belongs to another request."""
    if stored.fingerprint != digest:
        raise reused()
    return Response(stored.body, stored.status, headers=stored.headers | replay_headers())


def replay_headers() -> dict[str, str]:
    """Of a reply that is the first one's, again."""
    IDEMPOTENCY.labels("replayed").inc()
    return {REPLAYED_HEADER: "true"}


async def store(
    connection: Connection,
    schema: Schema,
    user_id: UUID,
    key: str,
    digest: bytes,
    response: Response,
) -> None:
    """Keep a reply under its key, unless one is there already."""
    kept = {
        name: value
        for name, value in response.headers.items()
        if name in {"content-type", "location", "etag"}
    }
    await connection.execute(
        f"""
        insert into {schema}.idempotency_keys (user_id, key, fingerprint, status, headers, body)
        values ($1, $2, $3, $4, $5, $6) on conflict do nothing
        """,
        user_id,
        key,
        digest,
        response.status_code,
        kept,
        bytes(response.body),
    )


async def purge(pool: Pool, schema: Schema) -> int:
    """Forget keys older than a day. Returns how many."""
    async with database.connection(pool) as connection:
        done = await connection.execute(
            f"delete from {schema}.idempotency_keys where created_at < now() - interval '24 hours'"
        )
    return int(done.rpartition(" ")[2])


async def _take(connection: Connection, schema: Schema, user_id: UUID, key: str) -> None:
    free: bool = await connection.fetchval(
        "select pg_try_advisory_xact_lock(hashtextextended($1, 0))", f"{schema}:{user_id}:{key}"
    )
    if not free:
        raise in_flight()


async def _find(connection: Connection, schema: Schema, user_id: UUID, key: str) -> Stored | None:
    row: asyncpg.Record | None = await connection.fetchrow(
        f"select fingerprint, status, headers, body from {schema}.idempotency_keys where user_id = $1 and key = $2",
        user_id,
        key,
    )
    return Stored(**dict(row)) if row else None
