"""The id of what one click sets in motion: on its request, its events, its jobs, and on every log line of theirs."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

from structlog.contextvars import bind_contextvars, bound_contextvars, get_contextvars

NAME = "correlation_id"


@contextmanager
def bound(correlation_id: UUID | None) -> Iterator[None]:
    """What the block does belongs to this id; to a new one where nobody knows it."""
    with bound_contextvars(**{NAME: str(correlation_id or uuid4())}):
        yield


def adopt(correlation_id: UUID | None) -> None:
    """From here on it is known what this is about. Ends with the `bound` block, or the task, that it stands in."""
    if correlation_id is not None:
        bind_contextvars(**{NAME: str(correlation_id)})


def current() -> UUID:
    found = get_contextvars().get(NAME)
    return UUID(found) if found else uuid4()
