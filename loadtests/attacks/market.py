"""Attacks by signed-in accounts: hoarded holds, tickets on a stranger's show, declined cards."""

import asyncio
import random
from typing import Any

import msgspec

from loadtests.attacks.attacker import Account, Attacker

HOARDER_HOLDS_PER_SECOND = 20
TICKETS_OF_ORDER = 8
LISTINGS_PER_SECOND = 10
READS_PER_SECOND = 20
# The flood ends after this share of the attack; the rest reads the show.
LISTING_SHARE = 0.6
PAYMENTS_PER_SECOND = 20
DECLINED_CARD = "pm_card_chargeDeclined"
HOARDERS, LISTERS, TESTERS = 21, 8, 10


async def hoarding(attacker: Attacker) -> None:
    """One account holds and cancels the same tickets; twenty of its address hold all they can."""
    found = [await _free(attacker, show_id, 30) for show_id in attacker.site.shows]
    own, *others = (
        ids[first : first + TICKETS_OF_ORDER]
        for ids in found
        for first in range(0, len(ids) - TICKETS_OF_ORDER + 1, TICKETS_OF_ORDER)
    )

    async def one(number: int) -> None:
        account = attacker.accounts[number % len(attacker.accounts)]
        if account is attacker.accounts[0]:
            order = await _hold(attacker, account, own, 30)
            if order is not None:
                path = f"/api/orders/{order['id']}"
                await attacker.send("DELETE", path, address=30, token=account.token)
        else:
            await _hold(attacker, account, others[number % len(others)], 30)

    await attacker.at_rate(HOARDER_HOLDS_PER_SECOND, one)


async def listings(attacker: Attacker) -> None:
    """Tickets on the show of a stranger, by eight accounts of four addresses; then its reads."""
    show_id = attacker.site.shows[0]
    cheap = {"tickets": [{"price": 1, "currency": "EUR"}] * 500}
    fair = {"tickets": [{"price": 4500, "currency": "EUR"}] * 20}

    async def add(number: int) -> None:
        # Eight accounts in turns, so that each comes again and reaches its quota.
        account = attacker.accounts[number // 2 % len(attacker.accounts)]
        await attacker.send(
            "POST",
            f"/api/shows/{show_id}/tickets",
            fair if number % 2 else cheap,
            address=40 + number % 4,
            token=account.token,
        )

    async def read(number: int) -> None:
        path = f"/api/tickets?show_id={show_id}&limit=100&sort=price"
        path = path if number % 2 else f"/api/shows/{show_id}"
        await attacker.send("GET", path, address=40 + number % 4)

    await attacker.at_rate(LISTINGS_PER_SECOND, add, seconds=attacker.seconds_left * LISTING_SHARE)
    await attacker.at_rate(READS_PER_SECOND, read)


async def declines(attacker: Attacker) -> None:
    """Declined cards on ten orders of ten accounts of one address."""
    free = await _free(attacker, attacker.site.shows[-1], 50)
    orders = await asyncio.gather(
        *(
            _hold(attacker, account, [ticket_id], 50)
            for account, ticket_id in zip(attacker.accounts, free, strict=False)
        )
    )
    held = [
        (account, order)
        for account, order in zip(attacker.accounts, orders, strict=False)
        if order is not None
    ]

    async def one(number: int) -> None:
        account, order = held[number % len(held)]
        body = {"order_id": order["id"], "payment_method": DECLINED_CARD}
        await attacker.send("POST", "/api/payments", body, address=50, token=account.token)

    if held:
        await attacker.at_rate(PAYMENTS_PER_SECOND, one)


async def _free(attacker: Attacker, show_id: str, address: int) -> list[str]:
    path = f"/api/tickets?show_id={show_id}&status=available&limit=100"
    reply = await attacker.send("GET", path, address=address)
    found: dict[str, Any] = msgspec.json.decode(reply.body)
    ids = [ticket["id"] for ticket in found["items"]]
    random.shuffle(ids)
    return ids


async def _hold(
    attacker: Attacker, account: Account, ticket_ids: list[str], address: int
) -> dict[str, Any] | None:
    body = {"ticket_ids": ticket_ids}
    reply = await attacker.send("POST", "/api/orders", body, address=address, token=account.token)
    if reply.status != 201:
        return None
    attacker.outcomes["tickets held"] += len(ticket_ids)
    order: dict[str, Any] = msgspec.json.decode(reply.body)
    return order
