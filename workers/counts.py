"""Folding of the changes of the counters of shows.

The counts of a show are exact without it. It bounds the changes that each reader adds up.
"""

from typing import Any

from backend.events.resources import Resources
from backend.kernel import database
from backend.tickets import queries

# A batch is one transaction.
BATCH = 5_000
BATCHES = 20


async def fold_counts(context: dict[str, Any]) -> None:
    """Fold all changes, at most `BATCHES` batches in a run."""
    resources: Resources = context["tickets"]
    async with database.connection(resources.pool) as connection:
        for _ in range(BATCHES):
            if await queries.fold_counts(connection, BATCH) < BATCH:
                return
