"""The running system that all examples of a search share, and its clients other than the API's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

import workers.main
import workers.payments
from backend.events.consumer import Consumer
from backend.events.relay import Relay
from backend.events.resources import Resources, open_resources
from backend.kernel.database import Connection
from backend.payments.provider import Provider
from tests.events.log import turning
from tests.payments.shop import Shop, open_shop, worker_context
from tests.search.entities import MAX_OPEN_ORDERS, MAX_TICKETS_PER_ORDER
from tests.system import Person, System
from workers.expiration import Expiry

REFUND_WINDOW_SECONDS = 86_400
# Long, so that a hold ends only when the search ends it.
ENVIRONMENT = {
    "REFUND_WINDOW_SECONDS": str(REFUND_WINDOW_SECONDS),
    "HOLD_SECONDS": "3600",
    "PAYMENT_GRACE_SECONDS": "3600",
    "MAX_TICKETS_PER_ORDER": str(MAX_TICKETS_PER_ORDER),
    "MAX_OPEN_ORDERS": str(MAX_OPEN_ORDERS),
    # The model counts no attempts.
    "MAX_PAYMENT_ATTEMPTS": "1000",
}

Meanwhile = Callable[[], Awaitable[object]]


class Pauses:
    """Pauses before the calls of a payment or a refund to Stripe."""

    def __init__(self) -> None:
        self._waiting: dict[str, Meanwhile] = {}
        self._error: BaseException | None = None

    def at(self, point: str, meanwhile: Meanwhile) -> None:
        self._waiting[point] = meanwhile

    async def reach(self, point: str) -> None:
        meanwhile = self._waiting.pop(point, None)
        if meanwhile is None:
            return
        try:
            await meanwhile()
        except BaseException as error:
            # Raised here alone, it would only become a reply with status 500.
            self._error = error
            raise

    def end(self) -> None:
        """End the request. Raises the exception that was raised in its pause."""
        fault, self._error = self._error, None
        self._waiting.clear()
        if fault is not None:
            raise fault

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for point in ("confirm", "capture", "request_refund"):
            patch.setattr(Provider, point, self._paused(point, getattr(Provider, point)))

    def _paused(
        self, point: str, real: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        async def asked(*arguments: Any) -> Any:
            await self.reach(point)
            return await real(*arguments)

        return asked


class Reader:
    """Pipelines many GETs on one connection, because a search spends most of its time comparing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def get(self, *asked: tuple[Person, str]) -> list[Any]:
        """The bodies of the replies, in the order of the requests."""
        self._writer.write(
            b"".join(
                (
                    f"GET {path} HTTP/1.1\r\nHost: shop\r\n"
                    f"Authorization: Bearer {person.token}\r\n\r\n"
                ).encode()
                for person, path in asked
            )
        )
        replies = [await self._reply() for _ in asked]
        assert {head.split()[1] for head, _ in replies} <= {"200"}, replies
        return [msgspec.json.decode(body) for _, body in replies]

    async def _reply(self) -> tuple[str, bytes]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(line for line in head.splitlines() if line.startswith("content-length:"))
        return head, await self._reader.readexactly(int(length.partition(":")[2]))


@asynccontextmanager
async def reading(port: int) -> AsyncIterator[Reader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Reader(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


@dataclass(frozen=True)
class RunningSystem:
    """The running system and its clients, shared by all examples of a search."""

    system: System
    shop: Shop
    reader: Reader
    pauses: Pauses
    orders: Resources
    payments: Resources
    jobs: dict[str, Any]
    relay: Relay
    relay_connection: Connection
    as_orders: Connection
    as_payments: Connection

    @property
    def consumers(self) -> tuple[Consumer, ...]:
        """The consumers, as the worker builds them."""
        queue = self.jobs["redis"]
        return workers.main._expiration_consumer(
            self.orders, queue
        ), workers.main._payments_consumer(self.payments, queue)


@asynccontextmanager
async def running_system(system: System, pauses: Pauses) -> AsyncIterator[RunningSystem]:
    system.configure(**ENVIRONMENT)
    async with AsyncExitStack() as stack:
        shop = await stack.enter_async_context(open_shop(system))
        await system.start("stripe", "api")
        await shop.stripe.faults(webhooks={"paused": True})
        jobs = await stack.enter_async_context(worker_context(system))
        orders = await stack.enter_async_context(open_resources(system.settings, "orders"))
        relay, relay_connection = await stack.enter_async_context(turning(system))
        yield RunningSystem(
            system,
            shop,
            await stack.enter_async_context(reading(system.ports["api"])),
            pauses,
            orders,
            jobs["payments"],
            jobs | {"expiry": Expiry(orders)},
            relay,
            relay_connection,
            await system.connect("orders"),
            await system.connect("payments"),
        )
