"""Races of concurrent clients on two API processes: each has one winner, and without its guard more
than one.
"""

import asyncio
import itertools
from collections import Counter
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests import factories
from tests.fork_server import ForkServer
from tests.races import removed_guards
from tests.races.cluster import (
    Cluster,
    call_together,
    delayed,
    is_lost_within_rounds,
    open_cluster,
    outcome,
)
from tests.system import Person, System

BUYERS = 24
REQUESTS = 8
PAYMENT_SECONDS = 0.1
# Longer than the time between concurrent requests on a busy machine.
INTENT_SECONDS = 0.6
# Long enough for the first of two requests to be decided before the second arrives.
APART_SECONDS = 0.1
MANY = 12
PRICE, NEW_PRICE = 4500, 9900
TAKEN = (409, "ticket_unavailable")
IN_FLIGHT = (409, "idempotency_key_in_flight")


async def test_of_many_buyers_of_a_ticket_one_wins(system: System, fork_server: ForkServer) -> None:
    async with open_cluster(system, fork_server) as cluster:
        assert await one_ticket(cluster) == {201: 1, TAKEN: BUYERS - 1}
        assert await cluster.rows.fetchval("select count(*) from orders.lines where live") == 1


async def test_without_the_guarded_hold_and_its_index_many_buyers_win(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(
        system, fork_server, removed_guards.UNGUARDED_HOLD, removed_guards.NO_INDEX
    ) as cluster:

        async def race() -> bool:
            return bool((await one_ticket(cluster))[201] > 1)

        assert await is_lost_within_rounds(race)


async def one_ticket(cluster: Cluster) -> Counter[Any]:
    ticket = await factories.ticket(await cluster.person("seller"))
    buyers = await cluster.people("buyer", BUYERS)
    replies = await call_together([partial(place, by, ticket["id"]) for by in buyers])
    return Counter(map(outcome, replies))


async def test_concurrent_payments_of_an_order_capture_once(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(system, fork_server) as cluster:
        order, replies = await many_payments(cluster, [str(uuid4()) for _ in range(REQUESTS)])
        seen = Counter(map(outcome, replies))
        assert seen[201] == 1
        assert seen.keys() <= {201, (409, "payment_in_progress"), (409, "order_already_paid")}
        assert await cluster.received(order["id"]) == [order["total"]]
        assert await cluster.state(order["id"]) == ("completed", "sold")


async def test_concurrent_payments_with_one_key_are_one_payment(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(system, fork_server) as cluster:
        order, replies = await many_payments(cluster, [str(uuid4())] * REQUESTS)
        assert {reply.status_code for reply in replies} <= {201, 409}
        assert len({reply.content for reply in replies if reply.is_success}) == 1
        assert await cluster.received(order["id"]) == [order["total"]]
        attempts = "select count(*) from payments.payments where order_id = $1"
        assert await cluster.rows.fetchval(attempts, UUID(order["id"])) == 1


@pytest.mark.parametrize("same_key", [False, True], ids=["under many keys", "under one key"])
async def test_without_its_guards_an_order_is_captured_twice(
    same_key: bool, system: System, fork_server: ForkServer
) -> None:
    off = (
        removed_guards.MANY_ATTEMPTS,
        removed_guards.MANY_CAPTURES,
        removed_guards.TRUSTING_SETTLE,
        removed_guards.TRUSTING_FINISH,
    )
    fault = "every_attempt_is_current"
    async with open_cluster(
        system, fork_server, *off, removed_guards.NO_PAYMENT_KEY, fault=fault
    ) as cluster:

        async def race() -> bool:
            keys = (
                [str(uuid4())] * REQUESTS if same_key else [str(uuid4()) for _ in range(REQUESTS)]
            )
            # A request gets its own intent only if no other is recorded yet, so all calls of Stripe
            # are slow here.
            order, _ = await many_payments(
                cluster, keys, slow="/payment_intents", seconds=INTENT_SECONDS
            )
            return len(await cluster.received(order["id"])) > 1

        assert await is_lost_within_rounds(race)


async def many_payments(
    cluster: Cluster, keys: list[str], *, slow: str = "/confirm", seconds: float = PAYMENT_SECONDS
) -> tuple[Any, list[httpx.Response]]:
    ticket = await factories.ticket(await cluster.person("seller"))
    clients = await cluster.sessions("buyer", len(keys))
    order = await factories.order(clients[0], ticket["id"])
    await slow_stripe(cluster, slow, seconds)
    replies = await call_together(
        [partial(pay, by, order, key=key) for by, key in zip(clients, keys, strict=True)]
    )
    return order, replies


async def test_of_cancellation_payment_and_expiry_one_wins(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(system, fork_server) as cluster:
        seen = set()
        for paying, late in itertools.product((0.0, PAYMENT_SECONDS), (0.0, 0.02, 0.08, 0.5)):
            await slow_confirmations(cluster, paying)
            order, cancelled, paid = await cancel_pay_and_expiry(cluster, late)
            state = await cluster.state(order["id"])
            taken = await cluster.received(order["id"])
            if state == ("completed", "sold"):
                assert (outcome(paid), taken) == (201, [order["total"]])
                assert not cancelled.is_success
            else:
                assert state in {("cancelled", "available"), ("expired", "available")}
                assert (cancelled.status_code == 204) == (state[0] == "cancelled")
                assert outcome(paid) in {(409, "order_expired"), (409, "order_cancelled")}
                assert taken == []
            seen.add(state[0])
        # The delays lead to more than one outcome.
        assert len(seen) > 1


async def test_with_an_unchecked_settlement_a_cancelled_order_is_paid(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(
        system, fork_server, removed_guards.TRUSTING_SETTLE, removed_guards.TRUSTING_FINISH
    ) as cluster:
        await slow_confirmations(cluster, 4 * PAYMENT_SECONDS)

        async def race() -> bool:
            order, cancelled, _ = await cancel_pay_and_expiry(cluster, PAYMENT_SECONDS)
            return cancelled.status_code == 204 and await cluster.received(order["id"]) == [
                order["total"]
            ]

        assert await is_lost_within_rounds(race)


async def cancel_pay_and_expiry(
    cluster: Cluster, late: float
) -> tuple[Any, httpx.Response, httpx.Response]:
    """Return the order, the reply to its cancellation and the reply to its payment."""
    ticket = await factories.ticket(await cluster.person("seller"))
    one, other = await cluster.sessions("buyer", 2)
    order = await factories.order(one, ticket["id"])

    async def expire() -> httpx.Response:
        await cluster.make_overdue(order["id"])
        await cluster.expire_due()
        return httpx.Response(204)

    cancel = partial(other.delete, f"/api/orders/{order['id']}", key=str(uuid4()))
    cancelled, paid, _ = await call_together(
        [delayed(late, cancel), partial(pay, one, order), delayed(late, expire)]
    )
    return order, cancelled, paid


async def test_of_a_hold_and_a_withdrawal_one_wins(system: System, fork_server: ForkServer) -> None:
    async with open_cluster(system, fork_server) as cluster:
        for _ in range(4):
            held, withdrawn, status = await hold_and_withdrawal(cluster)
            if held == 201:
                assert (withdrawn, status) == ((409, "ticket_taken"), "held")
            else:
                assert (held, withdrawn, status) == (TAKEN, 204, "withdrawn")


async def test_with_an_unguarded_hold_a_withdrawn_ticket_is_held(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(
        system, fork_server, removed_guards.UNGUARDED_HOLD, removed_guards.ANY_TRANSITION
    ) as cluster:

        async def race() -> bool:
            held, withdrawn, _ = await hold_and_withdrawal(cluster, hold_after=APART_SECONDS)
            return (held, withdrawn) == (201, 204)

        assert await is_lost_within_rounds(race)


async def hold_and_withdrawal(cluster: Cluster, hold_after: float = 0.0) -> tuple[Any, Any, str]:
    """Return the best outcome of the buyers, the seller's outcome, and the ticket's status."""
    seller = await cluster.person("seller")
    ticket = await factories.ticket(seller)
    buyers = await cluster.people("buyer", REQUESTS)
    withdrawn, *held = await call_together(
        [
            partial(seller.delete, f"/api/tickets/{ticket['id']}"),
            *(delayed(hold_after, partial(place, by, ticket["id"])) for by in buyers),
        ]
    )
    outcomes = Counter(map(outcome, held))
    assert outcomes[201] <= 1
    status: str = await cluster.rows.fetchval(
        "select status from tickets.tickets where id = $1", UUID(ticket["id"])
    )
    return 201 if outcomes[201] else outcome(held[0]), outcome(withdrawn), status


async def test_a_held_ticket_keeps_the_price_of_its_order(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(system, fork_server) as cluster:
        for _ in range(4):
            held, edited, price = await hold_and_edit(cluster)
            if held.is_success:
                assert outcome(edited) in {200, (409, "ticket_taken")}
                assert (
                    held.json()["subtotal"] == price == (NEW_PRICE if edited.is_success else PRICE)
                )
            else:
                # The hold found the ticket locked by the edit.
                assert (outcome(held), outcome(edited)) == (TAKEN, 200)


async def test_with_unchecked_edits_a_held_ticket_changes_its_price(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(
        system, fork_server, removed_guards.ALWAYS_FREE, removed_guards.ALWAYS_AVAILABLE
    ) as cluster:

        async def race() -> bool:
            held, edited, price = await hold_and_edit(cluster, edit_after=APART_SECONDS)
            return bool(held.is_success and edited.is_success and held.json()["subtotal"] != price)

        assert await is_lost_within_rounds(race)


async def hold_and_edit(
    cluster: Cluster, edit_after: float = 0.0
) -> tuple[httpx.Response, httpx.Response, int]:
    """Return the replies to the buyer and to the seller, and the ticket's price after both."""
    seller, buyer = await cluster.person("seller"), await cluster.person("buyer")
    ticket = await factories.ticket(seller, price=PRICE)
    edited, held = await call_together(
        [
            delayed(
                edit_after,
                partial(seller.put, f"/api/tickets/{ticket['id']}", {"price": NEW_PRICE}),
            ),
            partial(place, buyer, ticket["id"]),
        ]
    )
    price: int = await cluster.rows.fetchval(
        "select price from tickets.tickets where id = $1", UUID(ticket["id"])
    )
    return held, edited, price


async def test_a_change_of_many_tickets_leaves_each_held_one_as_its_buyer_saw_it(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(system, fork_server) as cluster:
        for body in ({"price": NEW_PRICE, "currency": "EUR"}, {"withdraw": True}) * 2:
            held, changed = await holds_and_change_of_many(cluster, body)
            assert len(changed) == MANY
            assert {reply.status_code for reply in held.values()} <= {201, 409}
            assert await broken_holds(cluster, held, changed) == []


async def test_with_an_unguarded_change_of_many_tickets_held_ones_change(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(
        system, fork_server, removed_guards.ALWAYS_FREE, removed_guards.ANY_TRANSITION
    ) as cluster:

        async def race() -> bool:
            body = {"price": NEW_PRICE, "currency": "EUR"}
            held, changed = await holds_and_change_of_many(cluster, body, after=APART_SECONDS)
            return bool(await broken_holds(cluster, held, changed))

        assert await is_lost_within_rounds(race)


async def holds_and_change_of_many(
    cluster: Cluster, body: dict[str, Any], after: float = 0.0
) -> tuple[dict[str, httpx.Response], dict[str, str | None]]:
    """A buyer holds each ticket while the seller changes all. Return the reply to each hold, and
    the code of each ticket's error.
    """
    seller = await cluster.person("seller")
    show = await factories.show(seller)
    ids = [
        (await factories.ticket(seller, show["id"], price=PRICE, seat=str(seat)))["id"]
        for seat in range(MANY)
    ]
    buyers = await cluster.people("buyer", MANY)
    change = partial(seller.post, "/api/tickets/changes", {"ticket_ids": ids, **body})
    changed, *held = await call_together(
        [
            delayed(after, change),
            *(partial(place, by, ticket_id) for by, ticket_id in zip(buyers, ids, strict=True)),
        ]
    )
    assert changed.status_code == 200, changed.text
    errors = {
        item["id"]: item["error"] and item["error"]["code"] for item in changed.json()["items"]
    }
    return dict(zip(ids, held, strict=True)), errors


async def broken_holds(
    cluster: Cluster, held: dict[str, httpx.Response], errors: dict[str, str | None]
) -> list[str]:
    """The held tickets whose price is not that of their order or that are no longer held, and the
    others that did not change.
    """
    rows = await cluster.rows.fetch(
        "select id, status, price from tickets.tickets where id = any ($1)",
        [UUID(ticket_id) for ticket_id in held],
    )
    found = {str(row["id"]): (row["status"], row["price"]) for row in rows}
    return [
        ticket_id
        for ticket_id, reply in held.items()
        if (
            found[ticket_id] != ("held", reply.json()["subtotal"])
            if reply.status_code == 201
            else errors[ticket_id] is not None
        )
    ]


async def test_of_concurrent_orders_below_the_limit_one_is_placed(
    system: System, fork_server: ForkServer
) -> None:
    system.configure(MAX_OPEN_ORDERS="3")
    async with open_cluster(system, fork_server) as cluster:
        assert await at_the_limit(cluster) == {201: 1, (409, "too_many_open_orders"): REQUESTS - 1}


async def test_without_the_buyers_lock_the_limit_is_exceeded(
    system: System, fork_server: ForkServer
) -> None:
    system.configure(MAX_OPEN_ORDERS="3")
    async with open_cluster(
        system, fork_server, removed_guards.NO_BUYER_LOCK, removed_guards.SLOW_ORDERS
    ) as cluster:

        async def race() -> bool:
            return bool((await at_the_limit(cluster))[201] > 1)

        assert await is_lost_within_rounds(race)


async def at_the_limit(cluster: Cluster) -> Counter[Any]:
    """Place concurrent orders with two of three allowed orders open. Returns their outcomes."""
    seller = await cluster.person("seller")
    tickets = [await factories.ticket(seller) for _ in range(REQUESTS + 2)]
    clients = await cluster.sessions("buyer", REQUESTS)
    for ticket in tickets[:2]:
        await factories.order(clients[0], ticket["id"])
    replies = await call_together(
        [partial(place, by, ticket["id"]) for by, ticket in zip(clients, tickets[2:], strict=True)]
    )
    return Counter(map(outcome, replies))


async def test_concurrent_orders_with_one_key_are_one_order(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(system, fork_server) as cluster:
        replies = await repeats(cluster)
        seen = Counter(map(outcome, replies))
        assert seen[201] >= 1
        assert seen.keys() <= {201, IN_FLIGHT}
        assert len({reply.content for reply in replies if reply.is_success}) == 1
        assert all("retry-after" in reply.headers for reply in replies if not reply.is_success)
        assert await cluster.rows.fetchval("select count(*) from orders.orders") == 1


async def test_without_the_keys_lock_a_repeat_fails_on_its_own_order(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(
        system, fork_server, removed_guards.NO_KEY_LOCK, removed_guards.SLOW_ORDERS
    ) as cluster:

        async def race() -> bool:
            return bool({outcome(reply) for reply in await repeats(cluster)} - {201, IN_FLIGHT})

        assert await is_lost_within_rounds(race)


async def repeats(cluster: Cluster) -> list[httpx.Response]:
    ticket = await factories.ticket(await cluster.person("seller"))
    clients, key = await cluster.sessions("buyer", REQUESTS), str(uuid4())
    return await call_together([partial(place, by, ticket["id"], key=key) for by in clients])


async def test_of_a_late_payment_and_a_takeover_one_wins(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(system, fork_server) as cluster:
        await slow_confirmations(cluster)
        seen = set()
        for late in (0.0, PAYMENT_SECONDS, None):
            order, paid, rivals = await late_payment_and_takeover(cluster, late)
            state = await cluster.state(order["id"])
            taken = await cluster.received(order["id"])
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


async def test_with_an_unchecked_settlement_a_taken_over_ticket_is_paid(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(
        system, fork_server, removed_guards.TRUSTING_SETTLE, removed_guards.TRUSTING_FINISH
    ) as cluster:
        await slow_confirmations(cluster)

        async def race() -> bool:
            order, _, rivals = await late_payment_and_takeover(cluster, 0.0)
            return rivals[201] == 1 and await cluster.received(order["id"]) == [order["total"]]

        assert await is_lost_within_rounds(race)


async def late_payment_and_takeover(
    cluster: Cluster, late: float | None
) -> tuple[Any, httpx.Response, Counter[Any]]:
    """Pay in time, with the authorisation after the hold's end, while others order the ticket.

    They order it `late` seconds after that end, or with None after the payment's reply.
    """
    ticket = await factories.ticket(await cluster.person("seller"))
    buyer, rivals = await cluster.person("buyer"), await cluster.people("rival", REQUESTS)
    order = await factories.order(buyer, ticket["id"])
    paying = asyncio.create_task(pay(buyer, order))
    begun = "select exists (select from payments.payments where order_id = $1)"
    # A row, so there is no event to await.
    while not await cluster.rows.fetchval(begun, UUID(order["id"])):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await cluster.make_overdue(order["id"])
    if late is None:
        await asyncio.wait([paying])
    else:
        await asyncio.sleep(late)
    replies = await call_together([partial(place, by, ticket["id"]) for by in rivals])
    return order, await paying, Counter(map(outcome, replies))


async def test_one_email_has_one_account(system: System, fork_server: ForkServer) -> None:
    async with open_cluster(system, fork_server) as cluster:
        assert await sign_ups(cluster) == {201: 1, (409, "email_taken"): REQUESTS - 1}


async def test_with_check_then_insert_one_email_has_many_accounts(
    system: System, fork_server: ForkServer
) -> None:
    async with open_cluster(
        system, fork_server, removed_guards.MANY_ACCOUNTS, fault="check_then_insert"
    ) as cluster:

        async def race() -> bool:
            return bool((await sign_ups(cluster))[201] > 1)

        assert await is_lost_within_rounds(race)


async def sign_ups(cluster: Cluster) -> Counter[Any]:
    name = uuid4().hex
    spellings = itertools.cycle((f"{name}@example.com", f"{name.upper()}@Example.com"))
    clients = await cluster.people("visitor", REQUESTS)
    replies = await call_together(
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


async def slow_confirmations(cluster: Cluster, seconds: float = PAYMENT_SECONDS) -> None:
    """Delay Stripe's confirmations, so that the race happens in the meantime."""
    await slow_stripe(cluster, "/confirm", seconds)


async def slow_stripe(cluster: Cluster, match: str, seconds: float = PAYMENT_SECONDS) -> None:
    await cluster.stripe.faults(match=match, latency_ms=int(seconds * 1000))
