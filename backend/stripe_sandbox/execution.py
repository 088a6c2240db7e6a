"""One API request in the ledger's transaction: its idempotency key, its operation, its stored
reply.

The reply is stored under its key in the transaction of the effect, so a crash leaves both or
neither. Successes, declines, refusals and 500s are stored. Errors of requests that never began to
execute (malformed, no API key, concurrent with the same key) are not. As at Stripe, a stored 500 is
returned for its key until the key expires.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from backend.stripe_sandbox.errors import ApiError, Broken, Declined, KeyReused
from backend.stripe_sandbox.listing import expand
from backend.stripe_sandbox.params import Params, Tree
from backend.stripe_sandbox.queries import Book, Document, KeptReply, shown

Operation: TypeAlias = Callable[[Book, Params], Document]
Failure: TypeAlias = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Call:
    line: str
    tree: Tree
    operation: Operation
    request_id: str
    key: str | None
    key_lifetime_seconds: int
    failure: Failure | None

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.tree, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    original_request: str
    replayed: bool = False


def execute(book: Book, call: Call) -> Reply:
    if call.key is None:
        return _perform(book, call)
    book.forget_replies(book.now - call.key_lifetime_seconds)
    kept = book.kept_reply(call.key)
    if kept is not None:
        return _replay(kept, call)
    reply = _perform(book, call)
    book.keep_reply(
        call.key, KeptReply(call.fingerprint, call.line, call.request_id, reply.status, reply.body)
    )
    return reply


def encode(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode(body)


def _perform(book: Book, call: Call) -> Reply:
    status, body = 500, Broken().body
    if call.failure != "before":
        status, body = _outcome(book, call)
    if call.failure == "after":
        status, body = 500, Broken().body
    return Reply(status, encode(body), call.request_id)


def _outcome(book: Book, call: Call) -> tuple[int, dict[str, Any]]:
    try:
        with book.savepoint("effect"):
            return _run(book, call)
    except ApiError as error:
        if not error.kept:
            raise
        return error.status, error.body


def _run(book: Book, call: Call) -> tuple[int, dict[str, Any]]:
    params = Params(call.tree)
    paths = params.texts("expand")
    try:
        document = call.operation(book, params)
    except Declined as error:
        # Returned inside the savepoint: the failed charge and its events are effects that stay.
        return error.status, error.body
    return 200, expand(book, shown(document), paths)


def _replay(kept: KeptReply, call: Call) -> Reply:
    if kept.line != call.line:
        raise KeyReused(
            "Keys for idempotent requests can only be used for the same endpoint they were first "
            f"used for ('{kept.line}' vs '{call.line}'). Try using a key other than '{call.key}' "
            "if you meant to execute a different request."
        )
    if kept.fingerprint != call.fingerprint:
        raise KeyReused(
            "Keys for idempotent requests can only be used with the same parameters they were "
            f"first used with. Try using a key other than '{call.key}' if you meant to execute a "
            "different request."
        )
    return Reply(kept.status, kept.body, kept.request_id, replayed=True)
