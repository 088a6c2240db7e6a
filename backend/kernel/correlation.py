"""The correlation id of the work at hand: a context variable that every log line, event, job and
trace span reads.

Each edge binds one: the HTTP middleware for a request, a consumer for an event, the arq wrapper for
a job or for a run of a periodic job, a command for a batch that it writes. An asyncio task inherits
the id of the code that created it. Signatures do not carry the id: the query layer reads it where a
statement needs it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID, uuid4

NAME = "correlation_id"

_bound: ContextVar[UUID | None] = ContextVar(NAME, default=None)


class Unbound(RuntimeError):
    """No edge bound a correlation id. A programming error: bind one where the work enters the
    process.
    """


@contextmanager
def bound(correlation_id: UUID | None = None) -> Iterator[None]:
    """Bind this id inside the block, or a new id when the caller has none."""
    token = _bound.set(correlation_id or uuid4())
    try:
        yield
    finally:
        _bound.reset(token)


def rebind(correlation_id: UUID | None) -> None:
    """Replace the bound id until the enclosing `bound` block or the task ends; None keeps it.

    For code that learns only after a read which request its work belongs to.
    """
    if correlation_id is not None:
        _bound.set(correlation_id)


def current() -> UUID:
    """The bound id. Raises Unbound."""
    correlation_id = find()
    if correlation_id is None:
        raise Unbound("bind a correlation id first: with correlation.bound(): …")
    return correlation_id


def find() -> UUID | None:
    """The bound id, or None in a background loop that works for no request."""
    return _bound.get()
