"""N clients at a barrier, two API processes: each race has one winner; and with its guard taken away, it is lost."""

import asyncio
import itertools
from collections import Counter
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests import factories
from tests.crash.nursery import Nursery
from tests.races import guards
from tests.races.arena import Arena, later, lost_within_rounds, opened, outcome, together
from tests.system import Person, System

BUYERS = 24
REQUESTS = 8
PAYMENT_SECONDS = 0.1
# Longer than requests of one instant are apart, however busy the machine.
INTENT_SECONDS = 0.6
# Long enough for the first of two requests to be decided before the other comes.
APART_SECONDS = 0.1
PRICE, NEW_PRICE = 4500, 9900
TAKEN = (409, "ticket_unavailable")
IN_FLIGHT = (409, "idempotency_key_in_flight")


async def test_many_buyers_of_one_ticket_have_one_winner(system: System, nursery: Nursery) -> None:
    async with opened(system, nursery) as arena:
        assert await one_ticket(arena) == {201: 1, TAKEN: BUYERS - 1}
        assert await arena.rows.fetchval("select count(*) from orders.lines where live") == 1


async def test_without_the_guarded_hold_and_its_index_a_ticket_has_many_buyers(
    system: System, nursery: Nursery
) -> None:
    async with opened(system, nursery, guards.UNGUARDED_HOLD, guards.NO_INDEX) as arena:

        async def race() -> bool:
            return bool((await one_ticket(arena))[201] > 1)

        assert await lost_within_rounds(race)


async def one_ticket(arena: Arena) -> Counter[Any]:
    ticket = await factories.ticket(await arena.person("seller"))
    buyers = await arena.people("buyer", BUYERS)
    replies = await together([partial(place, by, ticket["id"]) for by in buyers])
    return Counter(map(outcome, replies))


async def test_an_order_that_is_paid_many_times_at_once_is_paid_once(
    system: System, nursery: Nursery
) -> None:
    async with opened(system, nursery) as arena:
        order, replies = await many_payments(arena, [str(uuid4()) for _ in range(REQUESTS)])
        seen = Counter(map(outcome, replies))
        assert seen[201] == 1
        assert seen.keys() <= {201, (409, "payment_in_progress"), (409, "order_already_paid")}
        assert await arena.received(order["id"]) == [order["total"]]
        assert await arena.state(order["id"]) == ("completed", "sold")


async def test_a_payment_that_is_repeated_at_once_under_its_key_is_one(
    system: System, nursery: Nursery
) -> None:
    async with opened(system, nursery) as arena:
        order, replies = await many_payments(arena, [str(uuid4())] * REQUESTS)
        assert {reply.status_code for reply in replies} <= {201, 409}
        assert len({reply.content for reply in replies if reply.is_success}) == 1
        assert await arena.received(order["id"]) == [order["total"]]
        attempts = "select count(*) from payments.payments where order_id = $1"
        assert await arena.rows.fetchval(attempts, UUID(order["id"])) == 1


@pytest.mark.parametrize("same_key", [False, True], ids=["under many keys", "under one key"])
async def test_without_one_open_attempt_and_one_winner_an_order_is_paid_twice(
    same_key: bool, system: System, nursery: Nursery
) -> None:
    off = (
        guards.MANY_ATTEMPTS,
        guards.MANY_CAPTURES,
        guards.TRUSTING_SETTLE,
        guards.TRUSTING_FINISH,
    )
    fault = "every_attempt_is_current"
    async with opened(system, nursery, *off, guards.NO_PAYMENT_KEY, fault=fault) as arena:

        async def race() -> bool:
            keys = (
                [str(uuid4())] * REQUESTS if same_key else [str(uuid4()) for _ in range(REQUESTS)]
            )
            # Its own intent has who comes before another's is on record, so all of Stripe is slow here.
            order, _ = await many_payments(
                arena, keys, slow="/payment_intents", seconds=INTENT_SECONDS
            )
            return len(await arena.received(order["id"])) > 1

        assert await lost_within_rounds(race)


async def many_payments(
    arena: Arena, keys: list[str], *, slow: str = "/confirm", seconds: float = PAYMENT_SECONDS
) -> tuple[Any, list[httpx.Response]]:
    ticket = await factories.ticket(await arena.person("seller"))
    clients = await arena.sessions("buyer", len(keys))
    order = await factories.order(clients[0], ticket["id"])
    await slow_stripe(arena, slow, seconds)
    replies = await together(
        [partial(pay, by, order, key=key) for by, key in zip(clients, keys, strict=True)]
    )
    return order, replies


async def test_of_cancel_pay_and_expiry_one_has_the_order(system: System, nursery: Nursery) -> None:
    async with opened(system, nursery) as arena:
        seen = set()
        for paying, late in itertools.product((0.0, PAYMENT_SECONDS), (0.0, 0.02, 0.08, 0.5)):
            await slow_confirmations(arena, paying)
            order, cancelled, paid = await cancel_pay_and_expiry(arena, late)
            state = await arena.state(order["id"])
            taken = await arena.received(order["id"])
            if state == ("completed", "sold"):
                assert (outcome(paid), taken) == (201, [order["total"]])
                assert not cancelled.is_success
            else:
                assert state in {("cancelled", "available"), ("expired", "available")}
                assert (cancelled.status_code == 204) == (state[0] == "cancelled")
                assert outcome(paid) in {(409, "order_expired"), (409, "order_cancelled")}
                assert taken == []
            seen.add(state[0])
        # The offsets lead to more than one end.
        assert len(seen) > 1


async def test_with_a_trusting_settlement_a_cancelled_order_is_paid(
    system: System, nursery: Nursery
) -> None:
    async with opened(system, nursery, guards.TRUSTING_SETTLE, guards.TRUSTING_FINISH) as arena:
        await slow_confirmations(arena, 4 * PAYMENT_SECONDS)

        async def race() -> bool:
            order, cancelled, _ = await cancel_pay_and_expiry(arena, PAYMENT_SECONDS)
            return cancelled.status_code == 204 and await arena.received(order["id"]) == [
                order["total"]
            ]

        assert await lost_within_rounds(race)


async def cancel_pay_and_expiry(
    arena: Arena, late: float
) -> tuple[Any, httpx.Response, httpx.Response]:
    """The order, the reply to its cancellation and the one to its payment."""
    ticket = await factories.ticket(await arena.person("seller"))
    one, other = await arena.sessions("buyer", 2)
    order = await factories.order(one, ticket["id"])

    async def expire() -> httpx.Response:
        await arena.lapse(order["id"])
        await arena.expire_due()
        return httpx.Response(204)

    cancel = partial(other.delete, f"/api/orders/{order['id']}", key=str(uuid4()))
    cancelled, paid, _ = await together(
        [later(late, cancel), partial(pay, one, order), later(late, expire)]
    )
    return order, cancelled, paid


async def test_of_a_hold_and_a_withdrawal_one_has_the_ticket(
    system: System, nursery: Nursery
) -> None:
    async with opened(system, nursery) as arena:
        for _ in range(4):
            held, withdrawn, status = await hold_and_withdrawal(arena)
            if held == 201:
                assert (withdrawn, status) == ((409, "ticket_taken"), "held")
            else:
                assert (held, withdrawn, status) == (TAKEN, 204, "withdrawn")


async def test_with_an_unguarded_hold_a_withdrawn_ticket_is_held(
    system: System, nursery: Nursery
) -> None:
    async with opened(system, nursery, guards.UNGUARDED_HOLD, guards.ANY_TRANSITION) as arena:

        async def race() -> bool:
            held, withdrawn, _ = await hold_and_withdrawal(arena, hold_after=APART_SECONDS)
            return (held, withdrawn) == (201, 204)

        assert await lost_within_rounds(race)


async def hold_and_withdrawal(arena: Arena, hold_after: float = 0.0) -> tuple[Any, Any, str]:
    """What one of the buyers got at best, what the seller got, and the ticket's status."""
    seller = await arena.person("seller")
    ticket = await factories.ticket(seller)
    buyers = await arena.people("buyer", REQUESTS)
    withdrawn, *held = await together(
        [
            partial(seller.delete, f"/api/tickets/{ticket['id']}"),
            *(later(hold_after, partial(place, by, ticket["id"])) for by in buyers),
        ]
    )
    outcomes = Counter(map(outcome, held))
    assert outcomes[201] <= 1
    status: str = await arena.rows.fetchval(
        "select status from tickets.tickets where id = $1", UUID(ticket["id"])
    )
    return 201 if outcomes[201] else outcome(held[0]), outcome(withdrawn), status


async def test_a_hold_has_the_price_that_its_ticket_keeps(system: System, nursery: Nursery) -> None:
    async with opened(system, nursery) as arena:
        for _ in range(4):
            held, edited, price = await hold_and_edit(arena)
            if held.is_success:
                assert outcome(edited) in {200, (409, "ticket_taken")}
                assert (
                    held.json()["subtotal"] == price == (NEW_PRICE if edited.is_success else PRICE)
                )
            else:
                # It met the edit's lock.
                assert (outcome(held), outcome(edited)) == (TAKEN, 200)


async def test_when_every_ticket_counts_as_free_a_held_one_changes_its_price(
    system: System, nursery: Nursery
) -> None:
    async with opened(system, nursery, guards.ALWAYS_FREE, guards.ALWAYS_AVAILABLE) as arena:

        async def race() -> bool:
            held, edited, price = await hold_and_edit(arena, edit_after=APART_SECONDS)
            return bool(held.is_success and edited.is_success and held.json()["subtotal"] != price)

        assert await lost_within_rounds(race)


async def hold_and_edit(
    arena: Arena, edit_after: float = 0.0
) -> tuple[httpx.Response, httpx.Response, int]:
    """The replies to the buyer and to the seller, and the ticket's price after both."""
    seller, buyer = await arena.person("seller"), await arena.person("buyer")
    ticket = await factories.ticket(seller, price=PRICE)
    edited, held = await together(
        [
            later(
                edit_after,
                partial(seller.put, f"/api/tickets/{ticket['id']}", {"price": NEW_PRICE}),
            ),
            partial(place, buyer, ticket["id"]),
        ]
    )
    price: int = await arena.rows.fetchval(
        "select price from tickets.tickets where id = $1", UUID(ticket["id"])
    )
    return held, edited, price


async def test_parallel_orders_at_the_limit_give_one_more(system: System, nursery: Nursery) -> None:
    system.configure(MAX_OPEN_ORDERS="3")
    async with opened(system, nursery) as arena:
        assert await at_the_limit(arena) == {201: 1, (409, "too_many_open_orders"): REQUESTS - 1}


async def test_without_the_buyers_lock_the_limit_is_passed(
    system: System, nursery: Nursery
) -> None:
    system.configure(MAX_OPEN_ORDERS="3")
    async with opened(system, nursery, guards.NO_BUYER_LOCK, guards.SLOW_ORDERS) as arena:

        async def race() -> bool:
            return bool((await at_the_limit(arena))[201] > 1)

        assert await lost_within_rounds(race)


async def at_the_limit(arena: Arena) -> Counter[Any]:
    """Two orders are open, three are allowed: what parallel ones get."""
    seller = await arena.person("seller")
    tickets = [await factories.ticket(seller) for _ in range(REQUESTS + 2)]
    clients = await arena.sessions("buyer", REQUESTS)
    for ticket in tickets[:2]:
        await factories.order(clients[0], ticket["id"])
    replies = await together(
        [partial(place, by, ticket["id"]) for by, ticket in zip(clients, tickets[2:], strict=True)]
    )
    return Counter(map(outcome, replies))


async def test_parallel_repeats_of_an_order_under_its_key_are_one_order(
    system: System, nursery: Nursery
) -> None:
    async with opened(system, nursery) as arena:
        replies = await repeats(arena)
        seen = Counter(map(outcome, replies))
        assert seen[201] >= 1
        assert seen.keys() <= {201, IN_FLIGHT}
        assert len({reply.content for reply in replies if reply.is_success}) == 1
        assert all("retry-after" in reply.headers for reply in replies if not reply.is_success)
        assert await arena.rows.fetchval("select count(*) from orders.orders") == 1


async def test_without_the_keys_lock_a_repeat_meets_its_own_order(
    system: System, nursery: Nursery
) -> None:
    async with opened(system, nursery, guards.NO_KEY_LOCK, guards.SLOW_ORDERS) as arena:

        async def race() -> bool:
            return bool({outcome(reply) for reply in await repeats(arena)} - {201, IN_FLIGHT})

        assert await lost_within_rounds(race)


async def repeats(arena: Arena) -> list[httpx.Response]:
    ticket = await factories.ticket(await arena.person("seller"))
    clients, key = await arena.sessions("buyer", REQUESTS), str(uuid4())
    return await together([partial(place, by, ticket["id"], key=key) for by in clients])


async def test_of_a_late_payment_and_a_takeover_one_has_the_ticket(
    system: System, nursery: Nursery
) -> None:
    async with opened(system, nursery) as arena:
        await slow_confirmations(arena)
        seen = set()
        for late in (0.0, PAYMENT_SECONDS, None):
            order, paid, rivals = await late_payment_and_takeover(arena, late)
            state = await arena.state(order["id"])
            taken = await arena.received(order["id"])
            if rivals[201]:
                assert rivals == {201: 1, TAKEN: REQUESTS - 1}
                assert (outcome(paid), taken, state) == (
                    (409, "order_expired"),
                    [],
                    ("expired", "held"),
                )
            else:
                assert rivals == {TAKEN: REQUESTS}
                assert (outcome(paid), taken) == (201, [order["total"]])
                assert state == ("completed", "sold")
            seen.add(state[0])
        assert seen == {"expired", "completed"}


async def test_with_a_trusting_settlement_a_ticket_that_was_taken_over_is_paid(
    system: System, nursery: Nursery
) -> None:
    async with opened(system, nursery, guards.TRUSTING_SETTLE, guards.TRUSTING_FINISH) as arena:
        await slow_confirmations(arena)

        async def race() -> bool:
            order, _, rivals = await late_payment_and_takeover(arena, 0.0)
            return rivals[201] == 1 and await arena.received(order["id"]) == [order["total"]]

        assert await lost_within_rounds(race)


async def late_payment_and_takeover(
    arena: Arena, late: float | None
) -> tuple[Any, httpx.Response, Counter[Any]]:
    """A payment that began in time and is authorised after the hold's end, while others want the ticket.

    They want it `late` seconds after that end; None: when the payment is answered.
    """
    ticket = await factories.ticket(await arena.person("seller"))
    buyer, rivals = await arena.person("buyer"), await arena.people("rival", REQUESTS)
    order = await factories.order(buyer, ticket["id"])
    paying = asyncio.create_task(pay(buyer, order))
    begun = "select exists (select from payments.payments where order_id = $1)"
    while not await arena.rows.fetchval(begun, UUID(order["id"])):  # noqa: ASYNC110 - a row, not an event
        await asyncio.sleep(0.001)
    await arena.lapse(order["id"])
    if late is None:
        await asyncio.wait([paying])
    else:
        await asyncio.sleep(late)
    replies = await together([partial(place, by, ticket["id"]) for by in rivals])
    return order, await paying, Counter(map(outcome, replies))


async def test_one_email_has_one_account(system: System, nursery: Nursery) -> None:
    async with opened(system, nursery) as arena:
        assert await sign_ups(arena) == {201: 1, (409, "email_taken"): REQUESTS - 1}


async def test_by_check_then_insert_one_email_has_many_accounts(
    system: System, nursery: Nursery
) -> None:
    async with opened(system, nursery, guards.MANY_ACCOUNTS, fault="check_then_insert") as arena:

        async def race() -> bool:
            return bool((await sign_ups(arena))[201] > 1)

        assert await lost_within_rounds(race)


async def sign_ups(arena: Arena) -> Counter[Any]:
    name = uuid4().hex
    spellings = itertools.cycle((f"{name}@example.com", f"{name.upper()}@Example.com"))
    clients = await arena.people("visitor", REQUESTS)
    replies = await together(
        [
            partial(
                by.post, "/api/users/signup", {"email": email, "password": "correct horse battery"}
            )
            for by, email in zip(clients, spellings, strict=False)
        ]
    )
    return Counter(map(outcome, replies))


async def place(by: Person, ticket_id: str, *, key: str | None = None) -> httpx.Response:
    return await by.post("/api/orders", {"ticket_ids": [ticket_id]}, key=key)


async def pay(by: Person, order: Any, *, key: str | None = None) -> httpx.Response:
    body = {"order_id": order["id"], "payment_method": "pm_card_visa"}
    return await by.post("/api/payments", body, key=key)


async def slow_confirmations(arena: Arena, seconds: float = PAYMENT_SECONDS) -> None:
    """A bank takes its time, and what matters happens meanwhile."""
    await slow_stripe(arena, "/confirm", seconds)


async def slow_stripe(arena: Arena, match: str, seconds: float = PAYMENT_SECONDS) -> None:
    await arena.stripe.faults(match=match, latency_ms=int(seconds * 1000))
