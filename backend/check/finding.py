"""What a look at an invariant found, and how long things may be on their way before they count as broken."""

from dataclasses import dataclass, field
from typing import NamedTuple

from backend.kernel.database import Connection

# Money is on its way this long; older is stuck.
QUIET_SECONDS = 60
# So are events, messages and the ends of holds.
LATE_SECONDS = 5
# Deadlines that belong together may differ by this much.
MARGIN_SECONDS = 1
# Postgres ends a query after this time; a client waits a little longer for its word.
STATEMENT_TIMEOUT = "60s"
QUERY_SECONDS = 65.0
# Offenders that one query names; more are no use to a reader.
MOST = 1_000
# The event log is looked at this far back from its end.
EVENTS = 100_000

QUIET = f"interval '{QUIET_SECONDS} seconds'"
LATE = f"interval '{LATE_SECONDS} seconds'"
MARGIN = f"interval '{MARGIN_SECONDS} seconds'"


class Unseen(NamedTuple):
    """A part that was not looked at. `is_fault`: it should have been; else the settings leave it out."""

    why: str
    is_fault: bool = True


@dataclass
class Finding:
    """`says` is what was examined, as one sentence; `examined` counts the rows, entries and intents that it is about."""

    invariant: str
    says: str
    examined: int = 0
    offenders: list[str] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)

    async def ask(self, rows: Connection, counts: str, finds: str, *parameters: object) -> None:
        """`counts` is a number of rows; `finds` gives a sentence for each that breaks the invariant."""
        self.examined += await rows.fetchval(counts, timeout=QUERY_SECONDS)
        self.offenders += await sentences(rows, finds, *parameters)


async def sentences(rows: Connection, finds: str, *parameters: object) -> list[str]:
    found = await rows.fetch(
        f"select sentence from ({finds}) as broken (sentence) limit {MOST}",
        *parameters,
        timeout=QUERY_SECONDS,
    )
    return [row["sentence"] for row in found]
