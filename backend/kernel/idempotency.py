"""Idempotency-Key: a request sent twice has one effect, and the repeat gets the first reply.

The contract of each route that accepts a key, whichever store keeps it (decision 24 has the choice
of store, tests/idempotency the tests that every store passes):

- A key belongs to one user and one request; the fingerprint identifies the request.
- A store returns the state of a key as one of `State`; `replay` maps each state to its response.
- A crash before the commit leaves neither the effect nor the key.
- `is_stored` names the replies that a repeat gets again, byte for byte. The other keys stay new.
- A key is new again after `RETENTION`.

The session routes accept no key: no user exists yet, an email address signs up once, and their
replies carry secrets that no table should keep.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Literal, NamedTuple, Protocol, TypeVar
from uuid import UUID

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
RETENTION = timedelta(days=1)
UNSTORED = frozenset({409, 429})
STORED_HEADERS = frozenset({"content-type", "location", "etag"})

Schema = Literal["tickets", "orders"]
Handler = Callable[[Connection], Awaitable[Response]]
# The place of a reply in its store.
Slot_contra = TypeVar("Slot_contra", contravariant=True)


class KeyedRequest(NamedTuple):
    """The identity of a request with an Idempotency-Key."""

    user_id: UUID
    key: str
    fingerprint: bytes


class Reply(msgspec.Struct, frozen=True):
    """A reply as a store keeps it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, response: Response) -> "Reply":
        headers = {
            name: value for name, value in response.headers.items() if name in STORED_HEADERS
        }
        return cls(response.status_code, headers, bytes(response.body))

    def response(self) -> Response:
        return Response(self.body, self.status, headers=self.headers)


class State(StrEnum):
    """The state of a key for the request that carries it."""

    # No request of this user had the key in the last day: the caller does the work.
    NEW = "new"
    # The first request still runs.
    IN_FLIGHT = "in_flight"
    # The first request ended, and its reply is stored.
    REPLAYED = "replayed"
    # The key belongs to a request with another fingerprint.
    REUSED = "reused"
    # The first request's process ended between its effect and its reply: the caller resumes the
    # work. Only where one transaction cannot hold both.
    INTERRUPTED = "interrupted"


class Claim(NamedTuple):
    """A store's result for a keyed request: `reply` with REPLAYED, `row_id` with INTERRUPTED."""

    state: State
    reply: Reply | None = None
    row_id: UUID | None = None


class KeyStore(Protocol[Slot_contra]):
    """A place for keys and replies. `Slot` is the key itself, or the row that the request made."""

    async def claim(self, connection: Connection, request: KeyedRequest) -> Claim:
        """The state of the request's key. A repeat that comes later does not get NEW as well."""

    async def store(self, connection: Connection, slot: Slot_contra, reply: Reply) -> None:
        """Keep the reply, unless the slot has one."""


def key_of(request: Request) -> str | None:
    """The request's key, or None. Raises Invalid for an unusable key."""
    key = request.headers.get(HEADER)
    if key is not None and not (0 < len(key) <= MAX_KEY_LENGTH and key.isprintable()):
        raise Invalid(
            f"{HEADER} must have 1 to {MAX_KEY_LENGTH} printable characters",
            code="bad_idempotency_key",
        )
    return key


async def keyed(request: Request, user_id: UUID) -> KeyedRequest | None:
    """The identity of a request that carries a key, None without one. Raises Invalid."""
    key = key_of(request)
    return None if key is None else KeyedRequest(user_id, key, await fingerprint(request))


async def fingerprint(request: Request) -> bytes:
    """A digest of the request's method, path, query, If-Match and body."""
    scope = request.scope
    parts = (
        f"{request.method} {scope['path']}?".encode(),
        scope["query_string"],
        f"\n{request.headers.get('if-match', '')}\n".encode(),
        await request.body(),
    )
    return sha256(b"".join(parts)).digest()


def is_stored(status: int) -> bool:
    """Whether a reply of this status is stored, so that a repeat gets it again.

    Conflicts (409), exceeded limits (429) and server errors (5xx) are not: a repeat may
    succeed.
    """
    return status not in UNSTORED and status < 500


def replay(claim: Claim) -> Reply | None:
    """The stored reply, marked as replayed, or None when the caller has work to do.

    Raises Conflict while the first request runs, Invalid for a key of another request.
    """
    match claim.state:
        case State.IN_FLIGHT:
            raise in_flight()
        case State.REUSED:
            raise reused()
        case State.REPLAYED:
            assert claim.reply is not None
            return Reply(
                claim.reply.status, claim.reply.headers | replay_headers(), claim.reply.body
            )
    return None


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


def replay_headers() -> dict[str, str]:
    """The headers that mark a replayed reply."""
    IDEMPOTENCY.labels("replayed").inc()
    return {REPLAYED_HEADER: "true"}


class KeyTable:
    """The store of work that is one transaction: a row in the schema's `idempotency_keys`.

    The key's advisory lock, the work and the stored reply commit together.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    async def claim(self, connection: Connection, request: KeyedRequest) -> Claim:
        """Lock the key until the transaction ends, then read its row."""
        if not await connection.fetchval(
            "select pg_try_advisory_xact_lock(hashtextextended($1, 0))",
            f"{self._schema}:{request.user_id}:{request.key}",
        ):
            return Claim(State.IN_FLIGHT)
        row = await connection.fetchrow(
            f"""
            select fingerprint, status, headers, body from {self._schema}.idempotency_keys
            where user_id = $1 and key = $2 and created_at > now() - $3::interval
            """,
            request.user_id,
            request.key,
            RETENTION,
        )
        if row is None:
            return Claim(State.NEW)
        if row["fingerprint"] != request.fingerprint:
            return Claim(State.REUSED)
        return Claim(State.REPLAYED, Reply(row["status"], row["headers"], row["body"]))

    async def store(self, connection: Connection, slot: KeyedRequest, reply: Reply) -> None:
        await connection.execute(
            f"""
            insert into {self._schema}.idempotency_keys as k
                (user_id, key, fingerprint, status, headers, body)
            values ($1, $2, $3, $4, $5, $6)
            on conflict (user_id, key) do update
            set fingerprint = excluded.fingerprint, status = excluded.status,
                headers = excluded.headers, body = excluded.body, created_at = excluded.created_at
            where k.created_at <= now() - $7::interval
            """,
            *slot,
            reply.status,
            reply.headers,
            reply.body,
            RETENTION,
        )

    async def purge(self, connection: Connection) -> int:
        """Delete the keys that are older than RETENTION. Returns their number."""
        done = await connection.execute(
            f"delete from {self._schema}.idempotency_keys where created_at <= now() - $1::interval",
            RETENTION,
        )
        return int(done.rpartition(" ")[2])


async def once(
    request: Request, pool: Pool, keys: KeyTable, user_id: UUID, handler: Handler
) -> Response:
    """Run `handler` in a transaction, once for each key of this user; without a key, each time.

    Raises the errors of `replay`, and those of the handler.
    """
    keyed_request = await keyed(request, user_id)
    if keyed_request is None:
        async with database.transaction(pool) as connection:
            return await handler(connection)
    async with database.transaction(pool) as connection:
        repeated = replay(await keys.claim(connection, keyed_request))
        if repeated is not None:
            return repeated.response()
        try:
            async with connection.transaction():
                response = await handler(connection)
        except Problem as problem:
            if not is_stored(problem.status):
                raise
            response = problem.response()
        await keys.store(connection, keyed_request, Reply.of(response))
    return response
