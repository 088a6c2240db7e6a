"""The conditions of a list, and the bound of the rows that a request for it examines."""

from collections.abc import Sequence
from typing import Any

from backend.kernel.database import Connection

# The most rows that a request for a list of tickets, or for rows with rare words, examines.
MAX_EXAMINED = 2_000


class Conditions:
    """Conditions joined by `and`: `{}` in a condition becomes a numbered parameter. Conditions of
    one statement share their `values`.
    """

    def __init__(self, values: list[Any] | None = None) -> None:
        self.values = [] if values is None else values
        self._texts: list[str] = []

    def parameter(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, condition: str, *values: Any) -> None:
        self._texts.append(condition.format(*(self.parameter(value) for value in values)))

    def add_range(
        self,
        columns: Sequence[str],
        lowest: Sequence[Any],
        highest: Sequence[Any],
        after: Sequence[Any] | None,
        *,
        is_descending: bool,
    ) -> None:
        """Add a range of an index with these columns, as at most one comparison for each end: of
        the first columns with `lowest` and `highest`, or of all columns with the row `after` which
        the list continues.

        A list in the order of these columns has then one plan without a sort: the scan of this
        index. With `column = value`, Postgres would leave the column out of the order, so a scan of
        the primary key would also have the order, and would read rows of all values.
        """
        low, high = (">=", lowest), ("<=", highest)
        if after is not None and is_descending:
            high = ("<", after)
        elif after is not None:
            low = (">", after)
        for operator, values in (low, high):
            if values:
                row = ", ".join(columns[: len(values)])
                places = ", ".join(["{}"] * len(values))
                self.add(f"({row}) {operator} ({places})", *values)

    def __str__(self) -> str:
        return " and ".join(self._texts) or "true"


async def is_rare(connection: Connection, table: str, conditions: Conditions) -> bool:
    """Return whether no more rows have the words than a list may examine."""
    found: int = await connection.fetchval(
        f"""
        select count(*)
        from (select from {table} where {conditions} limit {MAX_EXAMINED + 1}) found
        """,
        *conditions.values,
    )
    return found <= MAX_EXAMINED


def source(table: str, conditions: Conditions, *, rare: bool) -> str:
    """The rows of a list. Those with rare words are found by their index first, and sorted then:
    Postgres, which expects more of them, would read all rows in the order of the list.
    """
    if rare:
        return f"(select * from {table} where {conditions} offset 0) {table[-1]}"
    return f"{table} where {conditions}"
