"""Declined cards: the attempts of an order, the budgets of an account and an address, and what a
stranger learns about a card.
"""

import asyncio
import json
from collections import Counter
from typing import Any
from uuid import UUID

import httpx
import pytest

from backend.payments.decline_reasons import reason_of
from tests import factories
from tests.factories import Json
from tests.orders.rows import elapse, used_of
from tests.orders.test_limits import replace_in, tickets_of_a_show
from tests.payments.shop import Shop, open_shop
from tests.replies import code
from tests.system import Person, System

DECLINED = "pm_card_chargeDeclined"
HOME = "203.0.113.9"
NO_ATTEMPTS = (409, "no_attempts_left")
TOO_MANY = (429, "too_many_declines")


async def pay(
    buyer: Person, order: Json, method: str = DECLINED, *, address: str = HOME
) -> httpx.Response:
    body = {"order_id": order["id"], "payment_method": method}
    return await buyer.post("/api/payments", body, X_Forwarded_For=address)


async def charges(shop: Shop) -> int:
    """The number of cards that Stripe has declined."""
    return [event["type"] for event in await shop.stripe.events()].count("charge.failed")


def outcomes(replies: list[httpx.Response]) -> Counter[Any]:
    return Counter(
        reply.status_code if reply.status_code in {201, 402} else code(reply) for reply in replies
    )


async def orders(system: System, *buyers: Person) -> list[Json]:
    ids = await tickets_of_a_show(system.person("seller"), len(buyers))
    return [await factories.order(by, ticket) for by, ticket in zip(buyers, ids, strict=True)]


async def test_five_declines_end_the_attempts_of_an_order(shop: Shop) -> None:
    """The attack: 170 stolen cards on one order."""
    order = await shop.order()
    replies = [await shop.pay(order, DECLINED) for _ in range(170)]
    assert outcomes(replies) == {402: 5, NO_ATTEMPTS: 165}
    assert await charges(shop) == 5
    # A good card is refused too, and the hold ends at its time.
    assert code(await shop.pay(order)) == NO_ATTEMPTS
    assert await shop.state(order) == ("awaiting_payment", "held")
    await shop.make_overdue(order)
    assert code(await shop.pay(order)) == (409, "order_expired")
    assert await shop.state(order) == ("expired", "available")


async def last_attempts(shop: Shop, parallel: int) -> Counter[Any]:
    """Parallel attempts on an order that has one attempt left."""
    order = await shop.order()
    for _ in range(4):
        await shop.pay(order, DECLINED)
    return outcomes(await asyncio.gather(*(shop.pay(order, DECLINED) for _ in range(parallel))))


async def test_of_parallel_attempts_at_the_limit_one_reaches_the_bank(shop: Shop) -> None:
    replies = await last_attempts(shop, 6)
    assert replies[402] == 1
    assert replies[NO_ATTEMPTS] + replies[(409, "payment_in_progress")] == 5
    assert await charges(shop) == 5


async def test_without_the_guards_parallel_attempts_pass_the_limit(shop: Shop) -> None:
    """The negative control of the test above."""
    await shop.rows.execute("drop index payments.payments_one_open_attempt")
    await replace_in(
        shop.rows,
        "orders.begin_payment",
        "and (o.payment_attempts < p_max_attempts) is not false",
        "",
    )
    # The attempts have passed the first check when the first of them takes the order's lock.
    await replace_in(
        shop.rows,
        "orders.begin_payment",
        "perform events.act_for(p_buyer);",
        "perform events.act_for(p_buyer); perform pg_sleep(0.3);",
    )
    # Without the index, two attempts may have the same number.
    await shop.rows.execute(
        "alter table payments.payments drop constraint payments_order_id_attempt_key"
    )
    assert (await last_attempts(shop, 6))[402] > 1


async def test_an_attempt_that_does_not_reach_stripe_does_not_count(shop: Shop) -> None:
    order = await shop.order()
    await shop.stripe.faults(match="POST /v1/payment_intents", fail_next=20, fail_when="before")
    for _ in range(6):
        assert (await shop.pay(order)).status_code == 503
    await shop.stripe.faults(fail_next=0)
    assert (await shop.pay(order)).json()["status"] == "captured"


@pytest.fixture
async def limited(system: System) -> Any:
    """The shop with limits, behind a proxy that sends the client's address."""
    system.configure(
        RATE_LIMITS="on",
        TRUSTED_PROXIES="127.0.0.1",
        MAX_DECLINES="3",
        MAX_DECLINES_OF_ADDRESS="6",
        MAX_OPEN_ORDERS="10",
    )
    async with open_shop(system) as shop:
        await system.start("stripe", "api")
        yield shop


async def test_an_account_has_a_budget_of_declines_over_all_its_orders(limited: Shop) -> None:
    buyer = limited.buyer
    first, second, third = await orders(limited.system, buyer, buyer, buyer)
    replies = [await pay(buyer, order) for order in (first, second) for _ in range(2)]
    assert outcomes(replies) == {402: 3, TOO_MANY: 1}
    refused = replies[-1]
    assert refused.json()["limited"] == "account"
    assert 1_100 < int(refused.headers["Retry-After"]) <= 1_200
    assert await charges(limited) == 3
    # The refusal extended no hold.
    held = "select status from orders.orders where id = $1"
    assert code(await pay(buyer, third, "pm_card_visa")) == TOO_MANY
    assert await limited.rows.fetchval(held, UUID(third["id"])) == "pending"
    await elapse(limited.rows, 1_201)
    other = await orders(limited.system, buyer)
    assert (await pay(buyer, other[0], "pm_card_visa")).status_code == 201


async def test_the_accounts_of_one_address_share_a_budget_of_declines(limited: Shop) -> None:
    buyers = [limited.system.person(f"tester-{number}") for number in range(4)]
    found = await orders(limited.system, *buyers)
    replies = [
        await pay(by, order) for by, order in zip(buyers, found, strict=True) for _ in range(2)
    ]
    assert outcomes(replies) == {402: 6, TOO_MANY: 2}
    assert replies[-1].json()["limited"] == "network"
    elsewhere = await pay(buyers[3], found[3], "pm_card_visa", address="203.0.113.10")
    assert elsewhere.status_code == 201


async def test_a_64_and_its_48_share_a_budget_of_declines(limited: Shop) -> None:
    system = limited.system
    buyers = [system.person(f"tester-{number}") for number in range(14)]
    found = await orders(system, *buyers)

    async def decline(number: int, address: str) -> int:
        replies = [await pay(buyers[number], found[number], address=address) for _ in range(2)]
        return outcomes(replies)[402]

    # Six of a /64, twenty-four of its /48.
    network = [await decline(number, f"2001:db8:1:1::{number}") for number in range(4)]
    assert network == [2, 2, 2, 0]
    site = [await decline(number, f"2001:db8:1:{number}::1") for number in range(4, 14)]
    assert site == [2] * 9 + [0]


async def at_the_limit(limited: Shop) -> Counter[Any]:
    """Six parallel attempts, each on an order of its own, with one of three declines left."""
    buyer = limited.buyer
    first, *others = await orders(limited.system, *[buyer] * 7)
    assert outcomes([await pay(buyer, first) for _ in range(2)]) == {402: 2}
    await replace_in(
        limited.rows,
        "orders.begin_payment",
        "perform events.act_for(p_buyer);",
        "perform events.act_for(p_buyer); perform pg_sleep(0.3);",
    )
    return outcomes(await asyncio.gather(*(pay(buyer, order) for order in others)))


async def test_of_parallel_attempts_at_the_limit_of_an_account_one_reaches_the_bank(
    limited: Shop,
) -> None:
    assert await at_the_limit(limited) == {402: 1, TOO_MANY: 5}
    assert await charges(limited) == 3


async def test_without_the_guarded_charge_parallel_attempts_pass_the_limit_of_an_account(
    limited: Shop,
) -> None:
    """The negative control of the test above."""
    await replace_in(limited.rows, "orders.charge", "<= v_now + interval '1 hour'", "is not null")
    assert (await at_the_limit(limited))[402] == 6


async def test_an_authorised_card_uses_no_declines(limited: Shop) -> None:
    buyer = limited.buyer
    for order in await orders(limited.system, *[buyer] * 5):
        assert (await pay(buyer, order, "pm_card_visa")).json()["status"] == "captured"
    assert await used_of(limited.rows, "declines ") == 0


async def test_an_attempt_that_does_not_reach_stripe_uses_no_declines(limited: Shop) -> None:
    (order,) = await orders(limited.system, limited.buyer)
    await limited.stripe.faults(match="POST /v1/payment_intents", fail_next=2, fail_when="before")
    assert (await pay(limited.buyer, order)).status_code == 503
    assert await used_of(limited.rows, "declines ") == 0


async def test_no_reply_event_or_message_has_a_code_of_the_bank(shop: Shop) -> None:
    order = await shop.order()
    methods = (
        "pm_card_visa_chargeDeclinedInsufficientFunds",
        "pm_card_visa_chargeDeclinedLostCard",
        "pm_card_chargeDeclinedIncorrectCvc",
        "pm_card_chargeDeclinedExpiredCard",
        "pm_card_chargeDeclinedProcessingError",
    )
    replies = [await shop.pay(order, method) for method in methods]
    assert [reply.json()["reason"] for reply in replies] == [
        "declined",
        "declined",
        "details",
        "details",
        "unavailable",
    ]
    assert {reply.json()["code"] for reply in replies} == {"card_declined"}
    payment_id = (await shop.buyer.get(f"/api/orders/{order['id']}")).json()["payment_id"]
    read = await shop.buyer.get(f"/api/payments/{payment_id}")
    events = await shop.rows.fetch("select data::text from events.outbox where type like 'pay%'")
    shown = [*(reply.text for reply in replies), read.text, *(row["data"] for row in events)]
    for word in ("insufficient", "lost", "cvc", "expired", "processing"):
        assert not [text for text in shown if word in text]
    # An operator finds the codes in the rows.
    kept = await shop.rows.fetch("select decline_code from payments.payments order by attempt")
    assert [row["decline_code"] for row in kept][:2] == ["insufficient_funds", "lost_card"]


def test_each_code_has_one_reason() -> None:
    assert reason_of("card_declined", "stolen_card") == "declined"
    assert reason_of("card_declined", None) == "declined"
    assert reason_of(None, None) == "declined"
    assert reason_of("incorrect_cvc", "incorrect_cvc") == "details"
    assert reason_of("card_declined", "incorrect_number") == "details"
    assert reason_of("payment_intent_authentication_failure", None) == "approval"
    assert reason_of("provider_unavailable", None) == "unavailable"


async def test_stripe_gets_the_fields_for_radar(limited: Shop) -> None:
    (order,) = await orders(limited.system, limited.buyer)
    assert (await pay(limited.buyer, order, "pm_card_visa")).status_code == 201
    created = next(
        event["data"]["object"]
        for event in await limited.stripe.events()
        if event["type"] == "payment_intent.created"
    )
    assert created["metadata"] == {
        "order_id": order["id"],
        "buyer_id": str(limited.buyer.id),
        "client_ip": HOME,
    }
    assert created["description"] == f"GitTix order {order['id']}"
    assert created["setup_future_usage"] is None
    assert json.dumps(created).count(limited.buyer.name + "@") == 0
