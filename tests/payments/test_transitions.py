"""A payment and a refund take only the transitions of their tables, also in manual SQL."""

from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any

import asyncpg
import pytest

from tests.payments.shop import Shop

PAYMENTS = {
    "started": {"requires_action", "authorised", "captured", "voided", "failed", "refunded"},
    "requires_action": {"authorised", "captured", "voided", "failed", "refunded"},
    "authorised": {"captured", "voided", "refunded"},
    "captured": {"refunded"},
    "failed": {"authorised", "captured", "refunded"},
    "voided": {"refunded"},
    "refunded": set[str](),
}
REFUNDS = {
    "requested": {"pending", "succeeded", "failed"},
    "pending": {"succeeded", "failed"},
    "succeeded": {"failed"},
    "failed": set[str](),
}
Put = Callable[[str], Awaitable[Any]]


async def taken(rows: Any, statuses: dict[str, set[str]], put: Put) -> dict[str, set[str]]:
    """The transitions that an update by the owner of the tables succeeds with."""
    found: dict[str, set[str]] = {status: set() for status in statuses}
    for before, after in product(statuses, repeat=2):
        if before == after:
            continue
        await rows.execute("set session_replication_role = replica")
        await put(before)
        await rows.execute("set session_replication_role = origin")
        constraint = None
        try:
            await put(after)
        except asyncpg.CheckViolationError as error:
            constraint = error.constraint_name
        if constraint is None:
            found[before].add(after)
        else:
            assert constraint == "transition_allowed"
    return found


async def take_payment(shop: Shop) -> dict[str, set[str]]:
    await shop.pay(await shop.order())
    return await taken(
        shop.rows,
        PAYMENTS,
        lambda status: shop.rows.execute("update payments.payments set status = $1", status),
    )


async def take_refund(shop: Shop) -> dict[str, set[str]]:
    await shop.refund(await shop.paid())
    return await taken(
        shop.rows,
        REFUNDS,
        lambda status: shop.rows.execute(
            """
            update payments.refunds
            set status = $1, failure_code = case $1 when 'failed' then 'declined' end
            """,
            status,
        ),
    )


async def test_a_payment_takes_only_the_transitions_of_the_table(shop: Shop) -> None:
    assert await take_payment(shop) == PAYMENTS


async def test_a_refund_takes_only_the_transitions_of_the_table(shop: Shop) -> None:
    assert await take_refund(shop) == REFUNDS


@pytest.mark.parametrize(
    ("table", "take", "statuses"),
    [
        ("payments.payments", take_payment, PAYMENTS),
        ("payments.refunds", take_refund, REFUNDS),
    ],
)
async def test_without_the_trigger_every_transition_succeeds(
    shop: Shop,
    table: str,
    take: Callable[[Shop], Awaitable[dict[str, set[str]]]],
    statuses: dict[str, set[str]],
) -> None:
    """The negative control: it is the trigger that refuses."""
    await shop.rows.execute(f"alter table {table} disable trigger check_transition")
    assert await take(shop) == {status: statuses.keys() - {status} for status in statuses}


async def test_an_update_of_another_column_is_no_transition(shop: Shop) -> None:
    await shop.refund(await shop.paid())
    await shop.rows.execute("delete from payments.transitions")
    await shop.rows.execute("delete from payments.refund_transitions")
    payments = await shop.system.connect("payments")
    await payments.execute("update payments.payments set status = status, version = version + 1")
    await payments.execute("update payments.refunds set status = status, version = version + 1")
