"""A purchase end to end with pusher-js clients: list, hold, pay; each client receives its own
messages.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import structlog

from backend.events.catalogue import TYPES
from tests import factories
from tests.factories import Json
from tests.payments.shop import Shop, open_shop, until
from tests.push.watcher import Endpoint, Seen, Watcher
from tests.system import PUSHER_KEY, Person, System

log = structlog.get_logger()

PARTS = ("stripe", "push", "api", "worker", "relay")
TICKET_EVENTS = sorted(name for name in TYPES if name.startswith("ticket."))


class Theatre:
    """A show with tickets on sale, its seller and a buyer, each with a subscribed browser."""

    def __init__(self, shop: Shop, show: Json, seller: Watcher, buyer: Watcher) -> None:
        self.shop = shop
        self.show = show
        self.seller = seller
        self.buyer = buyer

    @property
    def channel(self) -> str:
        return f"show-{self.show['id']}"

    async def listed(self) -> Json:
        ticket = await factories.ticket(self.shop.seller, self.show["id"])
        await received(self.buyer, "ticket.listed", self.channel)
        return ticket

    async def receive_sale(self, ticket: Json) -> None:
        """Check every message of a paid order, from the hold to the sale."""
        for event in ("ticket.held", "ticket.reserved", "ticket.sold"):
            seen = await received(self.buyer, event, self.channel)
            assert seen.data["ticket"]["id"] == ticket["id"]
        for event in ("sale.held", "sale.sold"):
            seen = await received(self.seller, event, f"private-user-{self.shop.seller.id}")
            assert seen.data["sale"]["ticket"]["id"] == ticket["id"]
        for event in ("order.created", "order.confirmed", "order.completed"):
            await received(self.buyer, event, f"private-user-{self.shop.buyer.id}")
        for event in ("payment.started", "payment.authorised", "payment.captured"):
            await received(self.buyer, event, f"private-user-{self.shop.buyer.id}")

    async def assert_shown_is_fresh(self, watcher: Watcher, ticket: Json) -> None:
        """The last state that the browser received equals the API's."""
        states = [
            seen.data["ticket"]
            for name in TICKET_EVENTS
            for seen in watcher.events(name, self.channel)
        ]
        shown = max(
            (state for state in states if state["id"] == ticket["id"]),
            key=lambda state: state["version"],
        )
        fresh = (await self.shop.buyer.get(f"/api/tickets/{ticket['id']}")).json()
        assert {name: shown[name] for name in ("status", "price", "version", "held_until")} == {
            name: fresh[name] for name in ("status", "price", "version", "held_until")
        }


@asynccontextmanager
async def theatre(system: System, *, parts: tuple[str, ...] = PARTS) -> AsyncIterator[Theatre]:
    await system.start(*parts)
    async with open_shop(system) as shop:
        show = await factories.show(shop.seller)
        channels = ["shows", f"show-{show['id']}", f"presence-show-{show['id']}"]
        async with (
            watching(system, shop.seller, *channels) as seller,
            watching(system, shop.buyer, *channels) as buyer,
        ):
            yield Theatre(shop, show, seller, buyer)


@asynccontextmanager
async def watching(system: System, person: Person, *channels: str) -> AsyncIterator[Watcher]:
    names = [*channels, f"private-user-{person.id}"]
    async with Watcher(
        host="127.0.0.1",
        port=system.ports["push"],
        key=PUSHER_KEY,
        channels=names,
        auth=Endpoint(f"{system.url}/api/push/auth", {"Authorization": f"Bearer {person.token}"}),
    ) as watcher:
        for name in names:
            await watcher.subscribed(name, seconds=10)
        yield watcher


async def received(watcher: Watcher, event: str, channel: str) -> Seen:
    return await watcher.event(event, channel, seconds=10)


async def matching_message(watcher: Watcher, event: str, right: Callable[[Json], bool]) -> Json:
    """Return the data of the next event of this name for which `right` is true."""
    while True:
        seen = await watcher.event(event, seconds=10)
        if right(seen.data):
            found: Json = seen.data
            return found


def assert_numbered(watcher: Watcher, channel: str) -> None:
    """All messages of the push log have one epoch, and a seq that grows by one."""
    stamps = [
        (seen.data["_epoch"], seen.data["_seq"])
        for seen in watcher.seen
        if seen.channel == channel and not seen.event.startswith(("pusher", "gittix:"))
    ]
    assert stamps
    (epoch, first), *_ = stamps
    assert stamps == [(epoch, first + n) for n in range(len(stamps))]


async def test_all_clients_receive_a_hold_and_a_sale(system: System) -> None:
    async with theatre(system) as stage:
        shop = stage.shop
        ticket = await stage.listed()
        asked = time.time()
        order = await factories.order(shop.buyer, ticket["id"])
        assert (order["subtotal"], order["fee"], order["total"]) == (4500, 225, 4725)
        held = await until(lambda: _events(stage.buyer, "ticket.held"))
        log.info("order to ticket.held", milliseconds=round(1000 * (held[0].at - asked), 1))
        counts = await matching_message(
            stage.seller, "show.availability", lambda data: data["show"]["held"] == 1
        )
        assert (counts["show"]["id"], counts["show"]["available"]) == (stage.show["id"], 0)
        asked = time.time()
        assert (await factories.payment(shop.buyer, order["id"]))["status"] == "captured"
        await stage.receive_sale(ticket)
        log.info("payment to ticket.sold", milliseconds=round(1000 * (time.time() - asked), 1))
        await shop.assert_paid_once(order)
        await matching_message(
            stage.buyer, "show.availability", lambda data: data["show"]["sold"] == 1
        )
        for watcher in (stage.seller, stage.buyer):
            await stage.assert_shown_is_fresh(watcher, ticket)
            assert_numbered(watcher, stage.channel)
            assert_numbered(watcher, "shows")
        assert_numbered(stage.seller, f"private-user-{shop.seller.id}")
        assert_numbered(stage.buyer, f"private-user-{shop.buyer.id}")
        assert stage.seller.events("order.created") == []
        assert stage.buyer.events("sale.held") == []


async def test_all_clients_receive_the_end_of_a_hold(system: System) -> None:
    system.configure(HOLD_SECONDS="1")
    async with theatre(system) as stage:
        shop = stage.shop
        ticket = await stage.listed()
        order = await factories.order(shop.buyer, ticket["id"])
        released = await received(stage.buyer, "ticket.released", stage.channel)
        assert (released.data["ticket"]["status"], released.data["ticket"]["held_until"]) == (
            "available",
            None,
        )
        sale = (
            await received(stage.seller, "sale.released", f"private-user-{shop.seller.id}")
        ).data["sale"]
        assert (sale["order_id"], sale["ticket"]["id"]) == (order["id"], ticket["id"])
        expired = await received(stage.buyer, "order.expired", f"private-user-{shop.buyer.id}")
        assert expired.data["order"]["status"] == "expired"
        await matching_message(
            stage.buyer, "show.availability", lambda data: data["show"]["available"] == 1
        )
        await stage.assert_shown_is_fresh(stage.buyer, ticket)


async def test_the_same_messages_arrive_through_the_pusher_library(system: System) -> None:
    system.configure(PUSH_BACKEND="pusher")
    async with theatre(system) as stage:
        ticket = await stage.listed()
        order = await factories.order(stage.shop.buyer, ticket["id"])
        await factories.payment(stage.shop.buyer, order["id"])
        await stage.receive_sale(ticket)
        await matching_message(
            stage.buyer, "show.availability", lambda data: data["show"]["sold"] == 1
        )
        await stage.assert_shown_is_fresh(stage.buyer, ticket)


async def test_a_user_cannot_subscribe_to_another_users_channel(system: System) -> None:
    await system.start("push", "api")
    owner, stranger = system.person("owner"), system.person("stranger")
    form = {"socket_id": "123.456", "channel_name": f"private-user-{owner.id}"}
    assert (await owner.http.post("/api/push/auth", data=form)).status_code == 200
    refused = await stranger.http.post("/api/push/auth", data=form)
    assert (refused.status_code, refused.json()["code"]) == (403, "channel_forbidden")
    assert (await system.anonymous().post("/api/push/auth", data=form)).status_code == 401
    async with watching(system, stranger) as watcher:
        await watcher.do("subscribe", channel=form["channel_name"])
        error = await watcher.event("pusher:subscription_error", form["channel_name"])
        assert error.data["status"] == 403


async def test_the_members_of_a_show_are_neither_named_nor_linked(system: System) -> None:
    await system.start("push", "api")
    ana, ben = system.person("ana"), system.person("ben")
    show, other = uuid4(), uuid4()

    async def visit(person: Person, show: UUID) -> str:
        form = {"socket_id": "1234.5678", "channel_name": f"presence-show-{show}"}
        reply = await person.http.post("/api/push/auth", data=form)
        assert reply.status_code == 200
        member: Json = json.loads(reply.json()["channel_data"])
        assert set(member) == {"user_id"}
        assert str(person.id) not in member["user_id"]
        return str(member["user_id"])

    first = await visit(ana, show)
    # Another tab of the same session.
    assert await visit(ana, show) == first
    assert len({first, await visit(ana, other), await visit(ben, show)}) == 3


async def test_a_purchase_survives_a_kill_of_the_relay(system: System) -> None:
    async with theatre(system, parts=("stripe", "push", "api", "worker")) as stage:
        async with system.part("relay"):
            ticket = await stage.listed()
            order = await factories.order(stage.shop.buyer, ticket["id"])
        assert (await factories.payment(stage.shop.buyer, order["id"]))["status"] == "captured"
        async with system.part("relay"):
            await stage.receive_sale(ticket)
            await stage.assert_shown_is_fresh(stage.buyer, ticket)
        await stage.shop.assert_paid_once(order)
        assert_numbered(stage.buyer, stage.channel)


async def test_a_purchase_survives_a_kill_of_the_worker(system: System) -> None:
    """The worker is killed during 3-D Secure: the webhook's job waits for the next worker."""
    async with theatre(system, parts=("stripe", "push", "api", "relay")) as stage:
        shop = stage.shop
        async with system.part("worker"):
            ticket = await stage.listed()
            order = await factories.order(shop.buyer, ticket["id"])
            await factories.payment(shop.buyer, order["id"], "pm_card_authenticationRequired")
            await received(stage.buyer, "ticket.extended", stage.channel)
        await shop.stripe.authenticate(order["id"])
        await asyncio.sleep(0.2)
        assert await shop.attempts(order) == ["requires_action"]
        async with system.part("worker"):
            await stage.receive_sale(ticket)
            await stage.assert_shown_is_fresh(stage.buyer, ticket)
        await shop.assert_paid_once(order)
        assert_numbered(stage.buyer, stage.channel)
        assert_numbered(stage.seller, f"private-user-{shop.seller.id}")


async def test_a_purchase_survives_a_kill_of_the_push_gateway(system: System) -> None:
    """A reconnected page reads the API; the next messages continue the sequence, so none is
    discarded as old.
    """
    gateway = system.part("push")
    await gateway.__aenter__()
    async with theatre(system, parts=("stripe", "api", "relay", "worker")) as stage:
        shop = stage.shop
        ticket = await stage.listed()
        order = await factories.order(shop.buyer, ticket["id"])
        before = (await received(stage.buyer, "ticket.held", stage.channel)).data
        await gateway.__aexit__(None, None, None)
        assert (await factories.payment(shop.buyer, order["id"]))["status"] == "captured"
        async with system.part("push"), watching(system, shop.buyer, stage.channel) as again:
            await shop.assert_paid_once(order)
            another = await factories.ticket(shop.seller, stage.show["id"])
            after = await matching_message(
                again, "ticket.listed", lambda data: data["ticket"]["id"] == another["id"]
            )
        assert after["_epoch"] == before["_epoch"]
        # Extended, reserved and sold while no client was connected.
        assert after["_seq"] == before["_seq"] + 4


async def _events(watcher: Watcher, name: str) -> list[Seen]:
    return watcher.events(name)


async def test_seller_and_buyer_receive_a_refund_and_all_clients_the_free_ticket(
    system: System,
) -> None:
    async with theatre(system) as stage:
        shop = stage.shop
        ticket = await stage.listed()
        order = await factories.order(shop.buyer, ticket["id"])
        await shop.pay(order)
        await stage.receive_sale(ticket)
        assert (await shop.refund(order, relist=True)).status_code == 200
        released = await received(stage.buyer, "ticket.released", stage.channel)
        assert (released.data["ticket"]["id"], released.data["ticket"]["status"]) == (
            ticket["id"],
            "available",
        )
        sale = await received(stage.seller, "sale.refunded", f"private-user-{shop.seller.id}")
        assert (sale.data["sale"]["order_id"], sale.data["sale"]["amount"]) == (
            order["id"],
            ticket["price"],
        )
        refunded = await received(stage.buyer, "order.refunded", f"private-user-{shop.buyer.id}")
        assert refunded.data["order"]["status"] == "refunded"
        await received(stage.buyer, "payment.refunded", f"private-user-{shop.buyer.id}")
        assert stage.seller.events("sale.released") == []
        await matching_message(
            stage.buyer, "show.availability", lambda data: data["show"]["available"] == 1
        )
        for watcher in (stage.seller, stage.buyer):
            await stage.assert_shown_is_fresh(watcher, ticket)
            assert_numbered(watcher, stage.channel)
