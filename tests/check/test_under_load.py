"""The check during heavy traffic: work in progress must not be reported as a breach."""

import asyncio
import random

from backend.check.invariants import Report, check_invariants
from tests import factories
from tests.system import Person, System

TICKETS = 12
BUYERS = 5
SECONDS = 4.0
CHECKS = 4
NO_LIMITS = {"MAX_OPEN_ORDERS": "100", "MAX_TICKETS_PER_SHOW": "10000"}


async def buy(buyer: Person, tickets: list[str], chance: random.Random) -> None:
    """Repeatedly hold tickets, then pay, be declined, cancel, or let the hold expire."""
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
    """Keep listing tickets, to replace the sold ones."""
    while True:
        tickets.append((await factories.ticket(seller, show_id))["id"])
        del tickets[0]
        await asyncio.sleep(0.2)


async def test_a_busy_system_has_no_violations(durable_system: System) -> None:
    system = durable_system
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
    reports: list[Report] = []
    while clock() < end or len(reports) < CHECKS:
        reports.append(await check_invariants(system.settings))
        await asyncio.sleep(0.05)
    assert not any(task.done() for task in trading)
    for task in trading:
        task.cancel()
    await asyncio.gather(*trading, return_exceptions=True)
    broken = [
        (result.invariant, result.violations)
        for report in reports
        for result in report.results
        if result.violations
    ]
    assert broken == []
    assert {report.outcome for report in reports} == {"holds"}
    rows = await system.connect()
    statuses = await rows.fetch("select distinct status from orders.orders")
    assert {row["status"] for row in statuses} >= {"completed", "cancelled", "expired"}
