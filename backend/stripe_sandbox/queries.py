"""The ledger's rows and all of its SQL.

Each Stripe object is one row of `objects`: its JSON as the API shows it, and the columns that lists
filter by. A key with a leading underscore is private to the sandbox (such as the test card) and is
never in a reply. `seq` grows with each insert, so lists are stable, newest first. A `Book` is one
unit of work inside the ledger's transaction: it never commits.
"""

import secrets
import sqlite3
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from backend.stripe_sandbox.errors import Missing
from backend.stripe_sandbox.settings import API_VERSION

Document: TypeAlias = dict[str, Any]

_LETTERS = (string.ascii_letters + string.digits).encode()
_LETTER_OF_BYTE = bytes(_LETTERS[byte % len(_LETTERS)] for byte in range(256))
_COMPARISONS = {"=", "<", "<=", ">", ">="}
_PREFIXES = {
    "payment_intent": "pi", "charge": "ch", "refund": "re", "payment_method": "pm",
    "event": "evt", "dispute": "du",
}  # fmt: skip

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    object TEXT NOT NULL,
    created INTEGER NOT NULL,
    parent TEXT,  -- the intent of a charge, refund or dispute
    label TEXT,   -- the type of an event
    body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (object, seq);
CREATE INDEX IF NOT EXISTS objects_by_parent ON objects (parent, object, seq)
    WHERE parent IS NOT NULL;
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    line TEXT NOT NULL,
    request_id TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS replies_by_age ON replies (created);
CREATE TABLE IF NOT EXISTS deliveries (
    event_seq INTEGER PRIMARY KEY REFERENCES objects (seq),
    created_at REAL NOT NULL,
    due_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    abandoned INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at) WHERE NOT abandoned;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The request that made a change: part of its events, and of 3-D Secure links."""

    request_id: str | None = None
    idempotency_key: str | None = None
    public_url: str = ""


@dataclass(frozen=True, slots=True)
class KeptReply:
    fingerprint: str
    line: str
    request_id: str
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    event_seq: int
    attempts: int
    due_at: float
    payload: str


class Book:
    def __init__(
        self, connection: sqlite3.Connection, origin: Origin, now: float, *, webhooks: bool
    ) -> None:
        self._connection = connection
        self.origin = origin
        self.now = now
        self._webhooks = webhooks

    @contextmanager
    def savepoint(self, name: str) -> Iterator[None]:
        self._connection.execute(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            self._connection.execute(f"ROLLBACK TO {name}")
            raise
        finally:
            self._connection.execute(f"RELEASE {name}")

    def new(self, object: str, **fields: Any) -> Document:
        """A new, unsaved object with its id, kind and time, and the fields of every object."""
        own_id = f"{_PREFIXES[object]}_{random_text(24)}"
        return {
            "id": own_id,
            "object": object,
            "created": int(self.now),
            "livemode": False,
            **fields,
        }

    def add(
        self, document: Document, *, parent: str | None = None, label: str | None = None
    ) -> int:
        row = self._connection.execute(
            "INSERT INTO objects (id, object, created, parent, label, body) "
            "VALUES (?, ?, ?, ?, ?, ?) RETURNING seq",
            (
                document["id"],
                document["object"],
                document["created"],
                parent,
                label,
                _dump(document),
            ),
        ).fetchone()
        return int(row[0])

    def save(self, document: Document) -> None:
        changed = self._connection.execute(
            "UPDATE objects SET body = ? WHERE id = ?", (_dump(document), document["id"])
        )
        assert changed.rowcount == 1, document["id"]

    def find(self, object: str, id: str) -> Document | None:
        row = self._connection.execute(
            "SELECT body FROM objects WHERE id = ? AND object = ?", (id, object)
        ).fetchone()
        return None if row is None else _load(row[0])

    def get(self, object: str, id: str, *, param: str | None = None) -> Document:
        """Read an object. Raises Missing: 404, or 400 for an object that a parameter names."""
        document = self.find(object, id)
        if document is None:
            raise Missing(object, id, param=param or object, status=400 if param else 404)
        return document

    def page(
        self,
        object: str,
        limit: int,
        *,
        parent: str | None = None,
        labels: list[str] | None = None,
        created: Mapping[str, int] | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> tuple[list[Document], bool]:
        """One page, newest first, and whether more follow."""
        where = ["object = ?"]
        values: list[Any] = [object]
        if parent is not None:
            where.append("parent = ?")
            values.append(parent)
        if labels:
            where.append(f"label IN ({', '.join('?' * len(labels))})")
            values.extend(labels)
        for operator, moment in (created or {}).items():
            assert operator in _COMPARISONS, operator
            where.append(f"created {operator} ?")
            values.append(moment)
        for cursor, operator in ((after, "<"), (before, ">")):
            if cursor is not None:
                where.append(f"seq {operator} (SELECT seq FROM objects WHERE id = ?)")
                values.append(cursor)
        order = "ASC" if before is not None else "DESC"
        # The text is made of literals of this function; the caller's values are bound parameters.
        query = f"SELECT body FROM objects WHERE {' AND '.join(where)} ORDER BY seq {order} LIMIT ?"
        found = [_load(row[0]) for row in self._connection.execute(query, [*values, limit + 1])]
        page = found[:limit]
        return (page[::-1] if before is not None else page), len(found) > limit

    def append_event(self, type: str, subject: Document) -> None:
        """Append an event with the subject's current state, and enqueue its webhook if one is
        configured.
        """
        event = self.new(
            "event",
            api_version=API_VERSION,
            data={"object": shown(subject)},
            pending_webhooks=int(self._webhooks),
            request={"id": self.origin.request_id, "idempotency_key": self.origin.idempotency_key},
            type=type,
        )
        seq = self.add(event, label=type)
        if self._webhooks:
            self._connection.execute(
                "INSERT INTO deliveries (event_seq, created_at, due_at) VALUES (?, ?, ?)",
                (seq, self.now, self.now),
            )

    def kept_reply(self, key: str) -> KeptReply | None:
        row = self._connection.execute(
            "SELECT fingerprint, line, request_id, status, body FROM replies WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else KeptReply(*row)

    def keep_reply(self, key: str, reply: KeptReply) -> None:
        self._connection.execute(
            "INSERT INTO replies (key, fingerprint, line, request_id, status, body, created) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                reply.fingerprint,
                reply.line,
                reply.request_id,
                reply.status,
                reply.body,
                int(self.now),
            ),
        )

    def forget_replies(self, older_than: float) -> None:
        self._connection.execute("DELETE FROM replies WHERE created < ?", (int(older_than),))

    def due_deliveries(self, created_until: float, limit: int) -> list[Delivery]:
        rows = self._connection.execute(
            """SELECT event_seq, attempts, due_at, body
               FROM deliveries JOIN objects ON seq = event_seq
               WHERE NOT abandoned AND due_at <= ? AND created_at <= ?
               ORDER BY due_at, event_seq LIMIT ?""",
            (self.now, created_until, limit),
        )
        return [Delivery(*row) for row in rows]

    def finish_delivery(self, event_seq: int) -> None:
        self._connection.execute("DELETE FROM deliveries WHERE event_seq = ?", (event_seq,))

    def postpone_delivery(self, event_seq: int, due_at: float, *, abandon: bool) -> None:
        self._connection.execute(
            "UPDATE deliveries SET attempts = attempts + 1, due_at = ?, abandoned = ? "
            "WHERE event_seq = ?",
            (due_at, int(abandon), event_seq),
        )

    def delivery_counts(self) -> tuple[int, int]:
        row = self._connection.execute(
            "SELECT count(*) FILTER (WHERE NOT abandoned), count(*) FILTER (WHERE abandoned) "
            "FROM deliveries"
        ).fetchone()
        return int(row[0]), int(row[1])

    def intent_totals(self) -> list[tuple[str, str, int, int, int]]:
        """For each currency and status: number of intents, amounts received and capturable."""
        return list(
            self._connection.execute(
                """SELECT body ->> 'currency', body ->> 'status', count(*),
                       sum(body ->> 'amount_received'), sum(body ->> 'amount_capturable')
                   FROM objects WHERE object = 'payment_intent' GROUP BY 1, 2"""
            )
        )

    def refund_totals(self, intent_id: str | None = None) -> list[tuple[str, str, int]]:
        """For each currency and status: the refunded amount, of one intent or of all."""
        return list(
            self._connection.execute(
                """SELECT body ->> 'currency', body ->> 'status', sum(body ->> 'amount')
                   FROM objects WHERE object = 'refund' AND (?1 IS NULL OR parent = ?1)
                   GROUP BY 1, 2""",
                (intent_id,),
            )
        )


def random_text(length: int) -> str:
    # One system call. Mapping 256 byte values to 62 letters makes eight letters more likely, which
    # costs less than one bit of entropy.
    return secrets.token_bytes(length).translate(_LETTER_OF_BYTE).decode()


def shown(document: Document) -> Document:
    """The object without the sandbox's private keys."""
    return {key: value for key, value in document.items() if not key.startswith("_")}


def _dump(document: Document) -> str:
    return msgspec.json.encode(document).decode()


def _load(body: str) -> Document:
    return msgspec.json.decode(body, type=Document)
