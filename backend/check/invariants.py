"""The ten invariants of docs/design.md, and one examination of all of them."""

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
    guarded_writes,
    hold_expiry,
    one_winner,
    publication,
    single_effect,
)
from backend.check.evidence import Evidence, gathered
from backend.check.finding import Finding, Unseen
from backend.kernel.settings import Settings

Outcome = Literal["holds", "broken", "unseen"]
EXIT_STATUS: dict[Outcome, int] = {"holds": 0, "broken": 1, "unseen": 2}

Examine = Callable[[Evidence, Finding], Awaitable[None]]


class Invariant(NamedTuple):
    """`says` is the part of it that can be seen from outside."""

    name: str
    says: str
    examine: Examine


INVARIANTS = (
    Invariant("I1", one_winner.SAYS, one_winner.examine),
    Invariant("I2", captures.SAYS, captures.examine),
    Invariant("I3", hold_expiry.SAYS, hold_expiry.examine),
    Invariant("I4", guarded_writes.SAYS, guarded_writes.examine),
    Invariant("I5", publication.SAYS, publication.examine),
    Invariant("I6", single_effect.SAYS, single_effect.examine),
    Invariant("I7", client_state.SAYS, client_state.examine),
    Invariant("I8", access.SAYS, access.examine),
    Invariant("I9", durability.SAYS, durability.examine),
    Invariant("I10", amounts_and_times.SAYS, amounts_and_times.examine),
)


class Look(NamedTuple):
    """What all of them are like, once."""

    at: datetime
    seconds: float
    findings: list[Finding]

    @property
    def is_broken(self) -> bool:
        return any(finding.offenders for finding in self.findings)

    @property
    def is_blind(self) -> bool:
        return any(unseen.is_fault for finding in self.findings for unseen in finding.unseen)

    @property
    def outcome(self) -> Outcome:
        return "broken" if self.is_broken else "unseen" if self.is_blind else "holds"


async def examine(settings: Settings) -> list[Finding]:
    """What each of them is like. Raises CannotLook."""
    return (await look(settings)).findings


async def look(settings: Settings) -> Look:
    """Raises CannotLook."""
    at, began = datetime.now(UTC), time.monotonic()
    async with gathered(settings) as evidence:
        findings = [await _examined(invariant, evidence) for invariant in INVARIANTS]
    return Look(at, time.monotonic() - began, findings)


async def _examined(invariant: Invariant, evidence: Evidence) -> Finding:
    finding = Finding(invariant.name, invariant.says)
    try:
        # A savepoint: a query that fails leaves the snapshot to the others.
        async with evidence.rows.transaction():
            await invariant.examine(evidence, finding)
    except (asyncpg.QueryCanceledError, asyncpg.SyntaxOrAccessError, TimeoutError) as fault:
        finding.unseen.append(Unseen(f"Postgres did not answer: {fault!r}"))
    return finding
