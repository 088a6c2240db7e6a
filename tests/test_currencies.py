"""The table of currencies: its rules, its copies, and the amounts that Stripe's double takes."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import pytest

from backend.check.captures import ledger_differs
from backend.check.ledger import Intent
from backend.currencies import CURRENCIES, MAX_FEE_PERCENT
from backend.stripe_sandbox.errors import InvalidParams
from backend.stripe_sandbox.money import check_amount, check_step
from tests.system import System

FEE_PERCENTS = (Decimal(0), Decimal("2.5"), Decimal(5), Decimal(MAX_FEE_PERCENT))


@pytest.mark.parametrize(
    ("code", "exponent", "wire_exponent", "step", "maximum"),
    [
        ("EUR", 2, 2, 1, 99_999_999),
        ("JPY", 0, 0, 1, 99_999_999),
        ("UGX", 0, 2, 1, 999_999),
        ("ISK", 2, 2, 100, 99_999_900),
        ("KWD", 3, 3, 10, 99_999_990),
        ("HUF", 2, 2, 1, 99_999_999),
        ("IDR", 2, 2, 1, 999_999_999_999),
    ],
)
def test_a_currency_has_stripes_rules(
    code: str, exponent: int, wire_exponent: int, step: int, maximum: int
) -> None:
    rules = CURRENCIES[code]
    assert (rules.exponent, rules.wire_exponent) == (exponent, wire_exponent)
    assert (rules.step, rules.maximum) == (step, maximum)


@pytest.mark.parametrize("code", sorted(CURRENCIES))
def test_an_amount_comes_back_from_stripe_as_it_was_sent(code: str) -> None:
    rules = CURRENCIES[code]
    for amount in (rules.step, rules.minimum, rules.maximum_price, rules.maximum):
        assert rules.from_wire(rules.to_wire(amount)) == amount


async def test_the_database_has_the_table_of_the_api(system: System) -> None:
    tickets = await system.connect("tickets")
    rows = await tickets.fetch(
        """
        select code, exponent, wire_exponent, digits, step, minimum, maximum, maximum_price
        from tickets.currencies order by code
        """
    )
    assert [tuple(row) for row in rows] == [
        (*rules, rules.maximum_price) for rules in sorted(CURRENCIES.values())
    ]


async def test_stripe_takes_every_price_with_every_fee_in_every_currency(system: System) -> None:
    """`orders.cost` gives the totals that are charged; Stripe's double accepts each of them."""
    owner = await system.connect()
    rows = await owner.fetch(
        """
        select c.code, cost.total
        from tickets.currencies c
        cross join lateral unnest(array[
            c.minimum, c.minimum + c.step, (c.minimum + c.maximum_price) / 2 / c.step * c.step,
            c.maximum_price
        ]) p (price)
        cross join unnest($1::numeric[]) f (percent)
        cross join lateral (
            select array[
                jsonb_populate_record(
                    null::tickets.tickets, jsonb_build_object('price', p.price, 'currency', c.code)
                )
            ] as one
        ) t
        cross join lateral orders.cost(t.one, f.percent) cost
        """,
        FEE_PERCENTS,
    )
    assert len(rows) == len(CURRENCIES) * 4 * len(FEE_PERCENTS)
    for row in rows:
        check_amount(CURRENCIES[row["code"]].to_wire(row["total"]), row["code"].lower())


@pytest.mark.parametrize("code", sorted(CURRENCIES))
def test_stripes_double_refuses_what_stripe_does_not_charge(code: str) -> None:
    rules = CURRENCIES[code]
    currency = code.lower()
    wrong = [
        (rules.to_wire(rules.minimum) - 1, "amount_too_small"),
        (rules.to_wire(rules.maximum + rules.step), "amount_too_large"),
    ]
    if rules.to_wire(rules.step) > 1:
        wrong.append((rules.to_wire(rules.minimum) + 1, "parameter_invalid_integer"))
        with pytest.raises(InvalidParams, match="Invalid amount"):
            check_step(rules.to_wire(rules.step) + 1, currency, "amount")
    for amount, error in wrong:
        with pytest.raises(InvalidParams) as caught:
            check_amount(amount, currency)
        assert (caught.value.error["code"], caught.value.error["param"]) == (error, "amount")


@pytest.mark.parametrize(("received", "is_found"), [(5_250_000, False), (52_500, True)])
def test_gittix_check_compares_the_ledger_in_stripes_units(received: int, is_found: bool) -> None:
    """52,500 in the ledger are UGX 525: a hundredth of the order's UGX 52,500."""
    order_id = uuid4()
    intent = Intent("pi_1", order_id, "UGX", received, 0, 0, datetime.now(UTC))
    order = {
        "id": order_id,
        "status": "completed",
        "total": 52_500,
        "currency": "UGX",
        "captured": ["pi_1"],
        "is_refunding": False,
        "kept": 52_500,
    }
    found = ledger_differs(order, [intent])
    assert bool(found) == is_found
    assert all("costs 5250000 UGX" in sentence for sentence in found)
