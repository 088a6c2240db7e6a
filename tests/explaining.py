"""A connection that keeps the plans of its statements, for tests of the rows that a list reads."""

from collections.abc import Iterator, Mapping
from typing import Any

from backend.kernel.database import Connection
from tests.system import System


class ExplainingConnection:
    """Runs statements on a connection, and keeps the plans of each: the one for its parameters, and
    the one that Postgres may choose for any parameters.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.plans: list[dict[str, Any]] = []

    async def fetch(self, sql: str, *values: Any) -> Any:
        rows = await self._connection.fetch(sql, *values)
        explain = "explain (analyze, timing off, buffers, format json)"
        (custom,) = await self._connection.fetchval(f"{explain} {sql}", *values)
        await self._connection.execute(f"prepare any_parameters as {sql}")
        nulls = f"({', '.join(['null'] * len(values))})" if values else ""
        (generic,) = await self._connection.fetchval(
            f"explain (format json) execute any_parameters {nulls}"
        )
        await self._connection.execute("deallocate any_parameters")
        self.plans += [custom["Plan"], generic["Plan"]]
        return rows

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        rows = await self.fetch(sql, *values)
        return rows[0] if rows else None

    async def fetchval(self, sql: str, *values: Any) -> Any:
        row = await self.fetchrow(sql, *values)
        return row[0] if row else None

    async def execute(self, sql: str) -> None:
        await self._connection.execute(sql)

    def transaction(self) -> Any:
        return self._connection.transaction()

    def scans(self) -> set[str]:
        """The tables that a plan reads from end to end."""
        return {
            node["Relation Name"]
            for plan in self.plans
            for node in nodes(plan)
            if node["Node Type"] == "Seq Scan"
        }

    def most_examined(self) -> float:
        """The most rows that one node of a plan read, with those that it filtered out."""
        found: list[float] = [
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            for plan in self.plans
            for node in nodes(plan)
            if "Relation Name" in node and "Actual Rows" in node
        ]
        return max(found)

    def blocks(self) -> int:
        """The blocks that the statements read."""
        return sum(
            plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0)
            for plan in self.plans
        )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def keep_statistics(owner: Connection, *tables: str) -> None:
    """Leave these tables to `vacuum analyze`: autovacuum would refresh statistics that a test needs
    to be old.
    """
    for table in tables:
        await owner.execute(f"alter table {table} set (autovacuum_enabled = off)")


async def explaining_connection(
    system: System, role: str, session: Mapping[str, str]
) -> ExplainingConnection:
    """A connection of a service with the settings of its sessions, and plans for any parameters."""
    connection = await system.connect(role)
    for name, value in session.items():
        await connection.execute(f"set {name} = '{value}'")
    await connection.execute("set statement_timeout = '20s'")
    await connection.execute("set plan_cache_mode = force_generic_plan")
    return ExplainingConnection(connection)
