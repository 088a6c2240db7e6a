"""Nobody but its owner reads an account's email, or a part of it."""

from typing import Any
from uuid import UUID, uuid4

import httpx

from tests import factories
from tests.system import Person, System
from tests.test_purchase import received, watching

SELLER, BUYER = "kz4seller7q", "kz4buyer9w"
PARTS = ("stripe", "push", "api", "relay", "worker")


async def signed_up(system: System, local_part: str) -> tuple[Person, str]:
    """A new account with this local part of its email, and its handle."""
    client = system.anonymous()
    body = {"email": f"{local_part}@{local_part}.example", "password": "correct horse battery"}
    reply = await client.post("/api/users/signup", json=body)
    assert reply.status_code == 201, reply.text
    user, token = reply.json()["current_user"], client.cookies["gittix_session"]
    client.cookies.clear()
    client.headers["Authorization"] = f"Bearer {token}"
    return Person(UUID(user["id"]), local_part, client, token), user["handle"]


async def test_no_reply_and_no_message_to_others_has_a_part_of_an_email(system: System) -> None:
    await system.start(*PARTS)
    (seller, handle), (buyer, _) = [await signed_up(system, name) for name in (SELLER, BUYER)]
    show = await factories.show(seller)
    channels = ["shows", f"show-{show['id']}", f"presence-show-{show['id']}"]
    async with (
        watching(system, system.person("stranger"), *channels) as stranger,
        watching(system, seller, *channels) as sellers,
        watching(system, buyer, *channels) as buyers,
    ):
        ticket = await factories.ticket(seller, show["id"])
        order = await factories.order(buyer, ticket["id"])
        payment = await factories.payment(buyer, order["id"])
        await received(sellers, "sale.sold", f"private-user-{seller.id}")
        await received(buyers, "payment.captured", f"private-user-{buyer.id}")
        sold = await received(stranger, "ticket.sold", channels[1])
    assert sold.data["ticket"]["seller_handle"] == handle

    ids = {"shows": show, "tickets": ticket, "orders": order, "payments": payment}
    paths = await readable(system, {noun: made["id"] for noun, made in ids.items()})
    for watcher, viewer, forbidden in (
        (stranger, system.anonymous(), (SELLER, BUYER)),
        (sellers, seller.http, (BUYER,)),
        (buyers, buyer.http, (SELLER,)),
    ):
        replies = [(path, await viewer.get(path)) for path in paths]
        assert [path for path, reply in replies if names(reply, forbidden)] == []
        assert not any(local in repr(watcher.seen) for local in (SELLER, BUYER))
        own = [path for path, reply in replies if names(reply, (SELLER, BUYER))]
        assert own == ([] if len(forbidden) == 2 else ["/api/users/currentuser"])

    rows = await system.connect()
    assert await rows.fetchval("select count(*) from events.outbox") > 5
    leaks = "select count(*) from events.outbox where data::text ~ $1"
    assert await rows.fetchval(leaks, f"{SELLER}|{BUYER}") == 0


async def test_a_refused_write_does_not_name_the_other_account(system: System) -> None:
    await system.start("stripe", "api")
    (seller, _), (buyer, _) = [await signed_up(system, name) for name in (SELLER, BUYER)]
    ticket = await factories.ticket(seller)
    order = await factories.order(buyer, ticket["id"])
    rival = system.person("rival")
    for method, path, body in (
        ("POST", "/api/orders", {"ticket_id": ticket["id"]}),
        ("POST", "/api/payments", {"order_id": order["id"], "payment_method": "pm_card_visa"}),
        ("PUT", f"/api/tickets/{ticket['id']}", {"price": 5000}),
        ("PUT", f"/api/shows/{ticket['show_id']}", factories.SHOW),
        ("DELETE", f"/api/orders/{order['id']}", None),
        ("POST", f"/api/orders/{order['id']}/extend", None),
    ):
        reply = await rival.http.request(
            method, path, json=body, headers={"Idempotency-Key": str(uuid4())}
        )
        assert reply.is_client_error, (path, reply.text)
        assert not names(reply, (SELLER, BUYER)), path


async def readable(system: System, ids: dict[str, str]) -> list[str]:
    """The paths of all GET routes, with these ids."""
    document: Any = (await system.anonymous().get("/api/openapi.json")).json()
    paths = [path for path, methods in document["paths"].items() if "get" in methods]
    filled = [path.format(id=ids[path.split("/")[2]]) if "{" in path else path for path in paths]
    assert len(filled) > 8
    return [*filled, f"/api/tickets?show_id={ids['shows']}", "/api/shows?q=harbour"]


def names(reply: httpx.Response, local_parts: tuple[str, ...]) -> bool:
    return any(local in reply.text for local in local_parts)
