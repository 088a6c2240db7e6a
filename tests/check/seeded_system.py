"""A system with orders in every state, built by real processes, and methods to break it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from redis.asyncio import Redis

from backend.check.invariants import Report, check_invariants
from backend.events.stream import STREAM
from backend.push.push_log import STATE
from backend.push.push_log import STREAM as PUSH_LOG
from tests import factories
from tests.events.log import publish, record
from tests.factories import Json
from tests.payments.shop import Shop, open_shop, until
from tests.system import PLAIN, STRIPE_KEY, System
from workers import payments
from workers.notifier import entry_id_of

AGE_SECONDS = 600
AGE = f"interval '{AGE_SECONDS} seconds'"
TICKETS = 12

ENDED_SESSION = """
    insert into auth.users (email, name, password_hash) values ('left@example.com', 'Left', 'x');
    insert into auth.sessions (user_id) select id from auth.users;
    update auth.sessions set revoked_at = clock_timestamp()
"""
# Moves all times ten minutes into the past.
AGED = (
    f"update tickets.tickets set created_at = created_at - {AGE}, updated_at = updated_at - {AGE}",
    f"update tickets.shows set created_at = created_at - {AGE}, updated_at = updated_at - {AGE}",
    f"update orders.orders set created_at = created_at - {AGE}, updated_at = updated_at - {AGE}",
    (
        f"update payments.payments set created_at = created_at - {AGE}, updated_at = updated_at -"
        f" {AGE}"
    ),
    (
        f"update payments.webhook_events set received_at = received_at - {AGE}, handled_at ="
        f" handled_at - {AGE}"
    ),
    f"update events.outbox set occurred_at = occurred_at - {AGE}",
)


class StoredState(NamedTuple):
    """The state outside Postgres: Redis's keys, the push log's entries, the ledger's folder."""

    keys: dict[bytes, bytes]
    push_log: list[tuple[bytes, dict[bytes, bytes]]]
    ledger: Path

    @classmethod
    async def of(cls, redis: Redis, ledger: Path) -> "StoredState":
        names = [STREAM.encode(), b"gittix:events:readers", STATE.encode()]
        return cls(
            {name: await redis.dump(name) for name in names}, await redis.xrange(PUSH_LOG), ledger
        )

    async def restore(self, redis: Redis) -> None:
        """Restore the state, with the times of the push log ten minutes in the past."""
        await redis.flushall()
        for name, value in self.keys.items():
            await redis.restore(name, 0, value)
        for entry_id, fields in self.push_log:
            milliseconds, _, number = entry_id.decode().partition("-")
            older_id = f"{int(milliseconds) - AGE_SECONDS * 1000}-{number}"
            await redis.xadd(PUSH_LOG, fields, id=older_id)  # type: ignore[arg-type]
        state: dict[bytes, bytes] = await redis.hgetall(STATE)  # type: ignore[misc]
        older = {
            "born": int(state[b"born"]) - AGE_SECONDS * 10**9,
            "epoch": int(state[b"epoch"]) - AGE_SECONDS * 10**3,
        }
        await redis.hset(STATE, mapping=older)  # type: ignore[misc]


class SeededSystem:
    """`rows` is the owner's connection, `stripe` a sandbox client with the merchant's key."""

    def __init__(self, system: System, rows: Any, stripe: httpx.AsyncClient) -> None:
        self.system = system
        self.rows = rows
        self.redis = system.redis()
        self.stripe = stripe

    @classmethod
    @asynccontextmanager
    async def open(cls, system: System) -> AsyncIterator["SeededSystem"]:
        headers = {"Authorization": f"Bearer {STRIPE_KEY}"}
        async with httpx.AsyncClient(
            base_url=system.stripe_url, headers=headers, timeout=10, verify=PLAIN
        ) as http:
            yield cls(system, await system.connect(), http)

    async def check(self) -> Report:
        return await check_invariants(self.system.settings)

    async def broken(self) -> dict[str, list[str]]:
        """Return the violations of each broken invariant."""
        report = await self.check()
        return {
            result.invariant: result.violations for result in report.results if result.violations
        }

    async def order(self, status: str) -> UUID:
        """Return the id of an order in this status."""
        found: UUID = await self.rows.fetchval(
            "select id from orders.orders where status = $1 order by id limit 1", status
        )
        return found

    async def intent(self, order_id: UUID, *, capture: bool = True, amount: int = 4725) -> str:
        """Create another intent for an order, with the merchant's key and without our code."""
        body = {
            "amount": str(amount),
            "currency": "eur",
            "capture_method": "manual",
            "metadata[order_id]": str(order_id),
            "payment_method": "pm_card_visa",
            "confirm": "true",
            "automatic_payment_methods[enabled]": "true",
            "automatic_payment_methods[allow_redirects]": "never",
        }
        made = (await self.stripe.post("/v1/payment_intents", data=body)).raise_for_status().json()
        if capture:
            (await self.stripe.post(f"/v1/payment_intents/{made['id']}/capture")).raise_for_status()
        return str(made["id"])

    async def intent_of(self, order_id: UUID) -> str:
        found: str = await self.rows.fetchval(
            "select intent_id from payments.payments where order_id = $1 and status = 'captured'",
            order_id,
        )
        return found

    async def change(self, noun: str, changes: str, where: str, *, event: str) -> None:
        """Change one row and append its event, as our code does."""
        table = f"{noun}s.{noun}s"
        state = f"{noun}s.state(changed)" if noun != "payment" else "to_jsonb(changed)"
        done = await self.rows.execute(
            f"""
            with changed as (
                update {table} r set {changes}, version = r.version + 1
                where r.id = (select f.id from {table} f where {where} order by f.id limit 1)
                returning r as changed
            )
            insert into events.outbox (type, subject, version, data)
            select '{event}', (changed).id, (changed).version, {state} from changed
            """
        )
        assert done == "INSERT 0 1", "there is no such row to move"

    async def publish(self) -> None:
        await publish(self.system)


async def build(system: System) -> None:
    """Build orders that are paid, refunded, declined, cancelled, expired, and still open."""
    async with AsyncExitStack() as stack:
        for part in ("stripe", "api", "relay"):
            await stack.enter_async_context(system.part(part))
        shop = await stack.enter_async_context(open_shop(system))
        show = await factories.show(shop.seller)
        tickets = [await factories.ticket(shop.seller, show["id"]) for _ in range(TICKETS)]
        late = await _capture_late(shop, tickets.pop()["id"])
        await stack.enter_async_context(system.part("worker"))
        await _trade(shop, [ticket["id"] for ticket in tickets])
        await until(lambda: shop.is_attempt(late, "refunded"), seconds=15)
        await record(shop.rows, 1, type="user.registered")
        await shop.rows.execute(ENDED_SESSION)
        await until(lambda: _is_at_rest(shop), seconds=30)
    for statement in AGED:
        await shop.rows.execute(statement)


async def _trade(shop: Shop, tickets: list[str]) -> None:
    async def order(*wanted: str) -> Json:
        return await factories.order(shop.system.person("buyer"), *wanted)

    paid = await factories.order(shop.buyer, tickets[0])
    assert (await shop.pay(paid)).status_code == 201
    pair = await factories.order(shop.buyer, tickets[1], tickets[2])
    assert (await shop.pay(pair)).status_code == 201
    body = {"lines": [tickets[2]], "relist": True}
    assert (await shop.seller.post(f"/api/orders/{pair['id']}/refund", body)).status_code == 200
    await _refund(shop, tickets[9])
    declined = await factories.order(shop.buyer, tickets[3])
    assert (await shop.pay(declined, "pm_card_chargeDeclined")).status_code == 402
    await order(tickets[4])
    cancelled = await factories.order(shop.buyer, tickets[5])
    assert (await shop.pay(cancelled, "pm_card_authenticationRequired")).status_code == 201
    assert (await shop.buyer.delete(f"/api/orders/{cancelled['id']}")).status_code == 204
    await until(lambda: shop.is_attempt(cancelled, "voided"), seconds=15)
    await shop.make_overdue(await order(tickets[6]))
    assert (await shop.seller.put(f"/api/tickets/{tickets[7]}", {"price": 5000})).status_code == 200
    assert (await shop.seller.delete(f"/api/tickets/{tickets[8]}")).status_code == 204


async def _refund(shop: Shop, ticket: str) -> None:
    paid = await factories.order(shop.buyer, ticket)
    assert (await shop.pay(paid)).status_code == 201
    refunded = await shop.seller.post(f"/api/orders/{paid['id']}/refund", {"relist": True})
    assert refunded.is_success, refunded.text
    assert await shop.state(paid) == ("refunded", "available")


async def _capture_late(shop: Shop, ticket: str) -> Json:
    """Capture money for an expired order without our code; the worker refunds it."""
    late = await factories.order(shop.buyer, ticket)
    assert (await shop.pay(late, "pm_card_authenticationRequired")).status_code == 201
    await shop.stripe.authenticate(late["id"])
    await shop.stripe.capture(late["id"])
    await shop.make_overdue(late)
    await factories.order(shop.system.person("rival"), ticket)
    return late


async def _is_at_rest(shop: Shop) -> bool:
    """Return whether all events are published and consumed and no work waits."""
    redis = shop.system.redis()
    waiting = await shop.rows.fetchval(
        """
        select (select count(*) from payments.webhook_events where handled_at is null)
             + (select count(*) from events.outbox where position is null)
             + (select count(*) from tickets.tickets where held_until <= now())
        """
    )
    notified, last = await shop.rows.fetchrow(
        "select n.position, r.position from push.notifier n, events.relay r"
    )
    groups = await redis.xinfo_groups(STREAM)
    state: dict[bytes, bytes] = await redis.hgetall(STATE)  # type: ignore[misc]
    counted = int(state[b"position"]) & 1
    return (
        waiting == 0
        and entry_id_of(notified).position == last
        and bool(counted)
        and len(groups) == 2
        and all(group["pending"] == 0 for group in groups)
        and all(group["last-delivered-id"].endswith(f"-{last}".encode()) for group in groups)
    )


async def acknowledge_early(seeded: SeededSystem) -> tuple[bytes, dict[bytes, bytes]]:
    """Publish an event and acknowledge it without handling it. Returns its entry."""
    await record(seeded.rows, 1, type="order.expired")
    await seeded.publish()
    ((_, entries),) = await seeded.redis.xreadgroup(payments.CONSUMER, "hasty", {STREAM: ">"})
    ((entry_id, fields),) = entries
    await seeded.redis.xack(STREAM, payments.CONSUMER, entry_id)
    return entry_id, fields
