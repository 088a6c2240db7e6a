"""A breach of an invariant, and functions that plant one in the rows."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.check.seeded_system import SeededSystem

Plant = Callable[[SeededSystem], Awaitable[None]]

# Disables triggers and foreign keys, as in a manual restore.
UNGUARDED = "set session_replication_role = replica"
# The seller refunded the others, so their price is capped.
FREE_TICKET = (
    "id = (select id from tickets.tickets where status = 'available' and price_cap is null"
    " order by price, id limit 1)"
)


class Breach(NamedTuple):
    """`sentence` is part of one violation's sentence.

    `undo` reverts changes outside the cloned database. `also` has the invariants that the same
    change may break too.
    """

    invariant: str
    name: str
    plant: Plant
    sentence: str
    undo: str = ""
    also: tuple[str, ...] = ()


def sql(*statements: str) -> Plant:
    async def plant(seeded: SeededSystem) -> None:
        for statement in statements:
            await seeded.rows.execute(statement)

    return plant


def change(noun: str, changes: str, where: str, *, event: str) -> Plant:
    """Plant a transition that is published correctly, but must not happen."""

    async def plant(seeded: SeededSystem) -> None:
        await seeded.change(noun, changes, where, event=event)

    return plant


def together(*plants: Plant) -> Plant:
    async def plant(seeded: SeededSystem) -> None:
        for one in plants:
            await one(seeded)

    return plant


def of_order(status: str) -> str:
    return f"(select id from orders.orders where status = '{status}' order by id limit 1)"
