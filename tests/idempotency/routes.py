"""One keyed route for each store of idempotency keys, with the handles that the contract needs."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID, uuid4

import httpx

from tests import factories
from tests.factories import Json
from tests.payments.shop import Shop
from tests.system import Person

WAITS_FOR_A_LOCK = """
    select exists (
        select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and state = 'active'
    )
"""
# A slow Stripe holds a request in flight for this long.
SLOW_MILLISECONDS = 1500


class KeyedRoute(ABC):
    """A request that can be sent again under its key."""

    # The event that the request's first transaction appends.
    event: str
    # The table with the age of a key.
    keys: str

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    @abstractmethod
    async def arrange(self) -> None:
        """Create the rows that the request needs."""

    @abstractmethod
    async def send(
        self, key: str, *, by: Person | None = None, other_body: bool = False
    ) -> httpx.Response: ...

    @abstractmethod
    async def effects(self) -> int:
        """How often the request took effect."""

    @abstractmethod
    def blocked(self) -> AbstractAsyncContextManager[None]:
        """A request that is sent in the block runs at least until its end, or SLOW_MILLISECONDS
        long.
        """

    @abstractmethod
    async def is_blocked(self) -> bool:
        """Whether the request sent in `blocked` has claimed its key and waits."""

    @abstractmethod
    def conflicting(self) -> AbstractAsyncContextManager[None]:
        """A request that is sent in the block gets a 409, and one that is sent later does not."""

    @asynccontextmanager
    async def failing(self) -> AsyncIterator[None]:
        """A request that is sent in the block fails before its first commit."""
        block = f"add constraint no_event check (type <> '{self.event}') not valid"
        await self.shop.rows.execute(f"alter table events.outbox {block}")
        yield
        await self.shop.rows.execute("alter table events.outbox drop constraint no_event")

    async def age(self, hours: int) -> None:
        """Let all keys be this old."""
        await self.shop.rows.execute(
            f"update {self.keys} set created_at = now() - make_interval(hours => $1)", hours
        )

    async def _events(self, subject: str) -> int:
        count: int = await self.shop.rows.fetchval(
            "select count(*) from events.outbox where type = $1 and subject = $2",
            self.event,
            UUID(subject),
        )
        return count


class ChangeTicket(KeyedRoute):
    """Key and reply in `tickets.idempotency_keys`, in the transaction of the work."""

    event = "ticket.updated"
    keys = "tickets.idempotency_keys"
    ticket: Json

    async def arrange(self) -> None:
        self.ticket = await factories.ticket(self.shop.seller)

    async def send(
        self, key: str, *, by: Person | None = None, other_body: bool = False
    ) -> httpx.Response:
        return await (by or self.shop.seller).put(
            f"/api/tickets/{self.ticket['id']}",
            {"price": 6000 if other_body else 5000},
            Idempotency_Key=key,
        )

    async def effects(self) -> int:
        return await self._events(self.ticket["id"])

    @asynccontextmanager
    async def blocked(self) -> AsyncIterator[None]:
        rival = await self.shop.system.connect()
        async with rival.transaction():
            await rival.execute(
                "select from tickets.tickets where id = $1 for update", UUID(self.ticket["id"])
            )
            yield

    async def is_blocked(self) -> bool:
        return bool(await self.shop.rows.fetchval(WAITS_FOR_A_LOCK))

    @asynccontextmanager
    async def conflicting(self) -> AsyncIterator[None]:
        order = await factories.order(self.shop.buyer, self.ticket["id"])
        yield
        await self.shop.buyer.delete(f"/api/orders/{order['id']}")


class PlaceOrder(KeyedRoute):
    """Key and reply in `orders.idempotency_keys`, inside the one statement `orders.place`."""

    event = "order.created"
    keys = "orders.idempotency_keys"
    ticket: Json

    async def arrange(self) -> None:
        self.ticket = await factories.ticket(self.shop.seller)

    async def send(
        self, key: str, *, by: Person | None = None, other_body: bool = False
    ) -> httpx.Response:
        ticket_id = str(uuid4()) if other_body else self.ticket["id"]
        return await (by or self.shop.buyer).post("/api/orders", {"ticket_id": ticket_id}, key=key)

    async def effects(self) -> int:
        count: int = await self.shop.rows.fetchval(
            "select count(*) from orders.lines where ticket_id = $1", UUID(self.ticket["id"])
        )
        return count

    @asynccontextmanager
    async def blocked(self) -> AsyncIterator[None]:
        rival = await self.shop.system.connect()
        async with rival.transaction():
            await rival.execute(
                "select pg_advisory_xact_lock(hashtextextended('buyer:' || $1::uuid, 0))",
                self.shop.buyer.id,
            )
            yield

    async def is_blocked(self) -> bool:
        return bool(await self.shop.rows.fetchval(WAITS_FOR_A_LOCK))

    @asynccontextmanager
    async def conflicting(self) -> AsyncIterator[None]:
        rival = self.shop.system.person("rival")
        order = await factories.order(rival, self.ticket["id"])
        yield
        await rival.delete(f"/api/orders/{order['id']}")


class _RowRoute(KeyedRoute):
    """Key and reply on the row that the request inserts, since the work calls Stripe."""

    # The call to Stripe that is slow while the request is blocked.
    call: str
    order: Json

    async def effects(self) -> int:
        count: int = await self.shop.rows.fetchval(
            f"select count(*) from {self.keys} where order_id = $1", UUID(self.order["id"])
        )
        return count

    @asynccontextmanager
    async def blocked(self) -> AsyncIterator[None]:
        await self.shop.stripe.faults(match=self.call, latency_ms=SLOW_MILLISECONDS)
        yield
        await self.shop.stripe.faults(match=self.call, latency_ms=0)

    async def is_blocked(self) -> bool:
        return await self.effects() > 0


class Pay(_RowRoute):
    event = "payment.started"
    keys = "payments.payments"
    call = "/confirm"

    async def arrange(self) -> None:
        self.order = await self.shop.order()

    async def send(
        self, key: str, *, by: Person | None = None, other_body: bool = False
    ) -> httpx.Response:
        method = "pm_card_mastercard" if other_body else "pm_card_visa"
        return await self.shop.pay(self.order, method, by=by, key=key)

    @asynccontextmanager
    async def conflicting(self) -> AsyncIterator[None]:
        await self.shop.pay(self.order, "pm_card_authenticationRequired")
        yield
        await self.shop.stripe.authenticate(self.order["id"], "fail")
        await self.shop.rows.execute("update payments.payments set status = 'failed'")


class Refund(_RowRoute):
    event = "order.updated"
    keys = "payments.refunds"
    call = "POST /v1/refunds"

    async def arrange(self) -> None:
        self.order = await self.shop.paid()

    async def send(
        self, key: str, *, by: Person | None = None, other_body: bool = False
    ) -> httpx.Response:
        return await self.shop.refund(self.order, by=by, relist=other_body, key=key)

    @asynccontextmanager
    async def conflicting(self) -> AsyncIterator[None]:
        self.order = await self.shop.order()
        yield
        await self.shop.pay(self.order)


ROUTES: tuple[type[KeyedRoute], ...] = (ChangeTicket, PlaceOrder, Pay, Refund)
