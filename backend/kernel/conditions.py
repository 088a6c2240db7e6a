"""The conditions of a list, and the bound of the rows that a request for it examines."""

from collections.abc import Sequence
from typing import Any

from backend.kernel.database import Connection

# The most rows that a request for a list, or for rows with rare words, examines.
MAX_EXAMINED = 2_000
# Of a range, only the index with its columns has the order of the list; these settings exclude the
# plans that read all rows of it and sort them. So the bound depends on no statistics (decision 33).
PLANNED_BY_INDEX = {
    "enable_seqscan": "off",
    "enable_sort": "off",
    "enable_incremental_sort": "off",
}


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


def bounded(
    columns: str,
    found: str,
    filters: Conditions,
    order: str,
    limit: str,
    *,
    row: str,
    joined: str = "",
) -> str:
    """A statement for up to `limit` rows of `found` that pass the filters, among its next
    MAX_EXAMINED rows in this order. `found` is a table with a range of the index that has the
    order, its alias is `row`; `joined` continues the `from` clause after it.

    If more rows remain to be examined, the last row has `is_end`: it is the place where a list
    continues. That branch is only run when the first one has fewer rows than the limit.
    """
    return f"""
        (
            select {columns}, false as is_end
            from (select * from {found} order by {order} limit {MAX_EXAMINED}) {row} {joined}
            where {filters} order by {order} limit {limit}
        )
        union all
        (
            select {columns}, true
            from (
                select * from {found} order by {order} offset {MAX_EXAMINED - 1} limit 1
            ) {row} {joined}
        )
        limit {limit}
    """


async def plan_by_index(connection: Connection) -> None:
    """Plan the statements of this transaction as `PLANNED_BY_INDEX` has it."""
    await connection.execute(
        ";".join(f"set local {name} = {value}" for name, value in PLANNED_BY_INDEX.items())
    )
