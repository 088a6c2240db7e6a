"""What a breach is, and how one is planted in rows."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.check.market import Market

Plant = Callable[[Market], Awaitable[None]]

FREE_TICKET = "id = (select id from tickets.tickets where status = 'available' order by id limit 1)"


class Breach(NamedTuple):
    """`says` is in the sentence of one offender. `undo` is for what a clone does not take with it when it is dropped."""

    invariant: str
    name: str
    plant: Plant
    says: str
    undo: str = ""


def sql(*statements: str) -> Plant:
    async def plant(market: Market) -> None:
        for statement in statements:
            await market.rows.execute(statement)

    return plant


def change(noun: str, changes: str, where: str, *, event: str) -> Plant:
    """A transition that was told as it should be, and yet should not have happened."""

    async def plant(market: Market) -> None:
        await market.change(noun, changes, where, event=event)

    return plant


def together(*plants: Plant) -> Plant:
    async def plant(market: Market) -> None:
        for one in plants:
            await one(market)

    return plant


def of_order(status: str) -> str:
    return f"(select id from orders.orders where status = '{status}' order by id limit 1)"
