"""The result of checking one invariant, and the ages from which unfinished work is a violation."""

from dataclasses import dataclass, field
from typing import NamedTuple

from backend.kernel.database import Connection

# A payment or a refund may be in progress for this long; after that it is stuck.
QUIET_SECONDS = 60
# An event, a push message or the end of a hold may be late by this much.
LATE_SECONDS = 5
# Deadlines that belong together may differ by this much.
MARGIN_SECONDS = 1
# Postgres cancels a query after STATEMENT_TIMEOUT; the client waits a little longer for the error.
STATEMENT_TIMEOUT = "60s"
QUERY_SECONDS = 65.0
# The number of violations that one query returns at most.
MAX_VIOLATIONS = 1_000
# The number of newest events of the log that are examined.
MAX_EVENTS = 100_000

QUIET = f"interval '{QUIET_SECONDS} seconds'"
LATE = f"interval '{LATE_SECONDS} seconds'"
MARGIN = f"interval '{MARGIN_SECONDS} seconds'"


class Unchecked(NamedTuple):
    """A part that was not checked, because of an error or (`is_error` false) by the settings."""

    reason: str
    is_error: bool = True


@dataclass
class Result:
    """The result of checking one invariant.

    `description` is the checked part of the invariant, in one sentence. `examined` counts the rows,
    entries and intents that were compared. Each violation is a sentence.
    """

    invariant: str
    description: str
    examined: int = 0
    violations: list[str] = field(default_factory=list)
    unchecked: list[Unchecked] = field(default_factory=list)

    async def run(
        self, connection: Connection, count_sql: str, violations_sql: str, *parameters: object
    ) -> None:
        """Add the number of examined rows and the violations, each by its query."""
        self.examined += await connection.fetchval(count_sql, timeout=QUERY_SECONDS)
        self.violations += await find_violations(connection, violations_sql, *parameters)


async def find_violations(
    connection: Connection, violations_sql: str, *parameters: object
) -> list[str]:
    """Return one sentence for each violation that the query finds, at most MAX_VIOLATIONS."""
    found = await connection.fetch(
        f"select sentence from ({violations_sql}) as broken (sentence) limit {MAX_VIOLATIONS}",
        *parameters,
        timeout=QUERY_SECONDS,
    )
    return [row["sentence"] for row in found]
