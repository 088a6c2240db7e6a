"""The check beside a market in full motion: nothing that is merely under way may look like a breach."""

import asyncio
import random

from backend.check import invariants
from backend.check.invariants import Look
from tests import factories
from tests.system import Person, System

TICKETS = 12
BUYERS = 5
SECONDS = 4.0
LOOKS = 4
NO_LIMITS = {"MAX_OPEN_ORDERS": "100", "MAX_UNPAID_HOLDS": "10000", "MAX_TICKETS_PER_SHOW": "10000"}


async def buy(buyer: Person, tickets: list[str], chance: random.Random) -> None:
    """Hold a few, then pay, be declined, cancel, or let the clock decide; again and again."""
    while True:
        wanted = chance.sample(tickets, chance.randint(1, 2))
        placed = await buyer.post("/api/orders", {"ticket_ids": wanted})
        await asyncio.sleep(chance.uniform(0.05, 0.3))
        if placed.status_code != 201:
            continue
        order_id = placed.json()["id"]
        fate = chance.random()
        if fate < 0.4:
            await buyer.delete(f"/api/orders/{order_id}")
        elif fate < 0.7:
            method = "pm_card_visa" if fate < 0.45 else "pm_card_chargeDeclined"
            await buyer.post("/api/payments", {"order_id": order_id, "payment_method": method})


async def offer(seller: Person, show_id: str, tickets: list[str]) -> None:
    """What is sold is made up for."""
    while True:
        tickets.append((await factories.ticket(seller, show_id))["id"])
        del tickets[0]
        await asyncio.sleep(0.2)


async def test_a_market_in_motion_never_looks_broken(lasting_system: System) -> None:
    system = lasting_system
    system.configure(HOLD_SECONDS="1", PAYMENT_GRACE_SECONDS="1", **NO_LIMITS)
    await system.start("stripe", "api", "relay", "worker")
    seller = system.person("seller")
    show_id = (await factories.show(seller))["id"]
    tickets = [(await factories.ticket(seller, show_id))["id"] for _ in range(TICKETS)]
    buyers = [system.person(f"buyer-{number}") for number in range(BUYERS)]
    trading = [
        asyncio.create_task(buy(buyer, tickets, random.Random(number)))
        for number, buyer in enumerate(buyers)
    ]
    trading.append(asyncio.create_task(offer(seller, show_id, tickets)))
    clock = asyncio.get_running_loop().time
    end = clock() + SECONDS
    looks: list[Look] = []
    while clock() < end or len(looks) < LOOKS:
        looks.append(await invariants.look(system.settings))
        await asyncio.sleep(0.05)
    assert not any(task.done() for task in trading)
    for task in trading:
        task.cancel()
    await asyncio.gather(*trading, return_exceptions=True)
    broken = [
        (finding.invariant, finding.offenders)
        for look in looks
        for finding in look.findings
        if finding.offenders
    ]
    assert broken == []
    assert {look.outcome for look in looks} == {"holds"}
    rows = await system.connect()
    statuses = await rows.fetch("select distinct status from orders.orders")
    assert {row["status"] for row in statuses} >= {"completed", "cancelled", "expired"}
