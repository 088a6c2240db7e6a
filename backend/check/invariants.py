"""The invariants of docs/design.md, and one check of all of them."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import asyncpg

from backend.check import (
    access,
    amounts_and_times,
    captures,
    client_state,
    durability,
    ended_sessions,
    guarded_writes,
    hold_expiry,
    one_winner,
    publication,
    single_effect,
)
from backend.check.result import Result, Unchecked
from backend.check.snapshot import Snapshot, open_snapshot
from backend.kernel.settings import Settings

Outcome = Literal["holds", "broken", "unseen"]
EXIT_STATUS: dict[Outcome, int] = {"holds": 0, "broken": 1, "unseen": 2}

Check = Callable[[Snapshot, Result], Awaitable[None]]


class Invariant(NamedTuple):
    """`description` is the part of the invariant that can be checked from outside."""

    name: str
    description: str
    check: Check


INVARIANTS = (
    Invariant("I1", one_winner.DESCRIPTION, one_winner.check),
    Invariant("I2", captures.DESCRIPTION, captures.check),
    Invariant("I3", hold_expiry.DESCRIPTION, hold_expiry.check),
    Invariant("I4", guarded_writes.DESCRIPTION, guarded_writes.check),
    Invariant("I5", publication.DESCRIPTION, publication.check),
    Invariant("I6", single_effect.DESCRIPTION, single_effect.check),
    Invariant("I7", client_state.DESCRIPTION, client_state.check),
    Invariant("I8", access.DESCRIPTION, access.check),
    Invariant("I9", durability.DESCRIPTION, durability.check),
    Invariant("I10", amounts_and_times.DESCRIPTION, amounts_and_times.check),
    Invariant("I16", ended_sessions.DESCRIPTION, ended_sessions.check),
)


class Report(NamedTuple):
    """The results of all invariants, from one snapshot."""

    at: datetime
    seconds: float
    results: list[Result]

    @property
    def is_broken(self) -> bool:
        return any(result.violations for result in self.results)

    @property
    def is_incomplete(self) -> bool:
        """Whether an error prevented a part of the check."""
        return any(part.is_error for result in self.results for part in result.unchecked)

    @property
    def outcome(self) -> Outcome:
        return "broken" if self.is_broken else "unseen" if self.is_incomplete else "holds"


async def check_invariants(settings: Settings) -> Report:
    """Check every invariant on one snapshot. Raises CheckError."""
    at, began = datetime.now(UTC), time.monotonic()
    async with open_snapshot(settings) as snapshot:
        results = [await _check_one(invariant, snapshot) for invariant in INVARIANTS]
    return Report(at, time.monotonic() - began, results)


async def _check_one(invariant: Invariant, snapshot: Snapshot) -> Result:
    result = Result(invariant.name, invariant.description)
    try:
        # In a savepoint, so that a failed query does not abort the snapshot's transaction.
        async with snapshot.connection.transaction():
            await invariant.check(snapshot, result)
    except (asyncpg.QueryCanceledError, asyncpg.SyntaxOrAccessError, TimeoutError) as error:
        result.unchecked.append(Unchecked(f"Postgres did not answer: {error!r}"))
    return result
