"""The rules for listing: the quota in shows of others, the show's policy, the minimum price."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import pytest

from tests import factories
from tests.factories import Json
from tests.orders.test_limits import replace_in
from tests.replies import code
from tests.system import Person, System

SPEC: Json = {"price": 100, "currency": "EUR"}
TOO_MANY = (409, "too_many_listed")


async def list_tickets(seller: Person, show: Json, count: int = 1, **fields: Any) -> Any:
    """The reply to a request that lists so many tickets."""
    return await seller.post(
        f"/api/shows/{show['id']}/tickets", {"tickets": [SPEC | fields] * count}
    )


async def list_in_parallel(seller: Person, show: Json, requests: int, count: int) -> Counter[Any]:
    replies = await asyncio.gather(*(list_tickets(seller, show, count) for _ in range(requests)))
    return Counter(201 if reply.status_code == 201 else code(reply) for reply in replies)


async def test_a_stranger_cannot_bury_a_show(system: System) -> None:
    """The attack: 500 tickets in each request, then one by one, in somebody's show."""
    await system.start("api")
    owner, stranger = system.person("owner"), system.person("stranger")
    show = await factories.show(owner)
    await factories.ticket(owner, show["id"])
    assert code(await list_tickets(stranger, show, 500)) == TOO_MANY
    refused = await list_tickets(stranger, show, 21)
    assert (refused.json()["max_listed"], refused.json()["listed"]) == (20, 0)
    assert (await list_tickets(stranger, show, 15)).status_code == 201
    found = Counter(
        [(await list_tickets(stranger, show)).status_code for _ in range(10)],
    )
    assert found == {201: 5, 409: 5}
    assert (await owner.get(f"/api/shows/{show['id']}")).json()["available"] == 21


async def test_the_owner_of_a_show_lists_more_than_strangers_may(system: System) -> None:
    await system.start("api")
    owner = system.person("owner")
    show = await factories.show(owner)
    for _ in range(2):
        assert (await list_tickets(owner, show, 500)).status_code == 201


async def test_the_quota_is_counted_for_each_show_and_each_seller(system: System) -> None:
    system.configure(MAX_LISTED_PER_SHOW="2")
    await system.start("api")
    owner, one, other = (system.person(name) for name in ("owner", "one", "other"))
    shows = [await factories.show(owner) for _ in range(2)]
    for show in shows:
        for seller in (one, other):
            assert (await list_tickets(seller, show, 2)).status_code == 201
            assert code(await list_tickets(seller, show)) == TOO_MANY


async def test_of_parallel_requests_at_the_quota_one_is_accepted(system: System) -> None:
    await system.start("api")
    owner = system.person("owner")
    for number in range(3):
        stranger, show = system.person(f"stranger-{number}"), await factories.show(owner)
        assert await list_in_parallel(stranger, show, 6, 15) == {201: 1, TOO_MANY: 5}
    rows = await system.connect()
    assert await rows.fetchval("select count(*) from tickets.tickets") == 45


async def test_without_the_lock_parallel_requests_pass_the_quota(system: System) -> None:
    """The negative control of the test above."""
    rows = await system.connect()
    lock = (
        "perform pg_advisory_xact_lock(\n"
        "            hashtextextended('listing:' || p_show || ':' || p_seller, 0)\n"
        "        );"
    )
    await replace_in(rows, "tickets.check_listing", lock, "")
    # The winner of a race is quick; with a pause after the count, every request has counted.
    await replace_in(
        rows,
        "tickets.check_listing",
        "if listed + p_count",
        "perform pg_sleep(0.3); if listed + p_count",
    )
    await system.start("api")
    show = await factories.show(system.person("owner"))
    assert await list_in_parallel(system.person("stranger"), show, 4, 15) == {201: 4}


async def test_a_withdrawn_ticket_counts_for_another_day(system: System) -> None:
    system.configure(MAX_LISTED_PER_SHOW="1")
    await system.start("api")
    stranger = system.person("stranger")
    show = await factories.show(system.person("owner"))
    made = (await list_tickets(stranger, show)).json()["items"][0]
    assert (await stranger.delete(f"/api/tickets/{made['id']}")).status_code == 204
    assert code(await list_tickets(stranger, show)) == TOO_MANY
    rows = await system.connect()
    await rows.execute("update tickets.tickets set updated_at = now() - interval '25 hours'")
    assert (await list_tickets(stranger, show)).status_code == 201


async def test_a_show_may_be_closed_for_other_sellers(system: System) -> None:
    await system.start("api")
    owner, stranger = system.person("owner"), system.person("stranger")
    show = await factories.show(owner)
    assert show["listing_policy"] == "open"
    path = f"/api/shows/{show['id']}"
    assert code(await stranger.put(path, {"listing_policy": "owner"})) == (403, "not_your_show")
    closed = (await owner.put(path, {"listing_policy": "owner"})).json()
    assert (closed["listing_policy"], closed["title"]) == ("owner", show["title"])
    assert code(await list_tickets(stranger, show)) == (403, "listing_closed")
    body = SPEC | {"show_id": show["id"]}
    assert code(await stranger.post("/api/tickets", body)) == (403, "listing_closed")
    assert (await list_tickets(owner, show)).status_code == 201
    assert code(await owner.put(path, {"listing_policy": "friends"})) == (422, "invalid_input")


@pytest.mark.parametrize(
    ("currency", "minimum", "shown"),
    [("EUR", 50, "0.50 EUR"), ("JPY", 50, "50 JPY"), ("HUF", 17500, "175.00 HUF")],
)
async def test_a_price_is_at_least_what_a_card_can_be_charged(
    currency: str, minimum: int, shown: str, system: System
) -> None:
    """The attack: tickets of a cent make a show's `from_price` a cent."""
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    for price in (1, minimum - 1):
        refused = await list_tickets(seller, show, price=price, currency=currency)
        assert code(refused) == (422, "invalid_input")
        assert refused.json()["errors"] == [
            {"field": "price", "message": f"must be at least {shown}", "minimum": minimum}
        ]
    listed = await list_tickets(seller, show, price=minimum, currency=currency)
    assert listed.status_code == 201
    path = f"/api/tickets/{listed.json()['items'][0]['id']}"
    assert code(await seller.put(path, {"price": minimum - 1})) == (422, "invalid_input")
    assert (await seller.put(path, {"price": minimum + 1})).status_code == 200


async def test_a_change_of_the_currency_alone_is_checked_against_its_minimum(
    system: System,
) -> None:
    await system.start("api")
    seller = system.person("seller")
    ticket = await factories.ticket(seller, price=100)
    path = f"/api/tickets/{ticket['id']}"
    assert code(await seller.put(path, {"currency": "SEK"})) == (422, "invalid_input")
    assert (await seller.put(path, {"currency": "SEK", "price": 300})).status_code == 200


@pytest.mark.parametrize(
    ("amounts", "message", "bound"),
    [
        (
            {"price": 5135, "currency": "KWD"},
            "must be a multiple of 0.010 KWD, such as 5.140 KWD",
            {"step": 10},
        ),
        (
            {"price": 5000_50, "currency": "ISK"},
            "must be a multiple of 1 ISK, such as 5001 ISK",
            {"step": 100},
        ),
        (
            {"price": 99_999_999, "currency": "EUR"},
            "must be at most 666666.66 EUR",
            {"maximum": 66_666_666},
        ),
        (
            {"price": 700_000, "currency": "UGX"},
            "must be at most 666666 UGX",
            {"maximum": 666_666},
        ),
        (
            {"price": 150, "currency": "KWD"},
            "must be at least 0.200 KWD",
            {"minimum": 200},
        ),
    ],
)
async def test_a_price_that_could_never_be_paid_is_refused(
    amounts: dict[str, Any], message: str, bound: dict[str, int], system: System
) -> None:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    refused = await list_tickets(seller, show, **amounts)
    assert code(refused) == (422, "invalid_input")
    assert refused.json()["errors"] == [{"field": "price", "message": message} | bound]


async def test_a_face_value_ends_in_the_step_and_may_be_low(system: System) -> None:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    prices: Json = {"price": 5000_00, "currency": "ISK"}
    refused = await list_tickets(seller, show, **prices, face_value=150)
    assert refused.json()["errors"][0]["field"] == "face_value"
    assert (await list_tickets(seller, show, **prices, face_value=100)).status_code == 201


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("price = 49", "price_at_least_the_minimum"),
        ("currency = 'SEK', price = 299", "price_at_least_the_minimum"),
        ("currency = 'XXX'", "currency_known"),
        ("price = 66666667", "price_at_most_the_maximum"),
        ("currency = 'KWD', price = 5135", "price_in_steps"),
        ("currency = 'ISK', price = 20000, face_value = 150", "face_value_in_steps"),
        ("face_value = 66666667", "face_value_at_most_the_maximum"),
    ],
)
async def test_the_database_refuses_a_price_that_could_never_be_paid(
    change: str, constraint: str, system: System
) -> None:
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"))
    tickets = await system.connect("tickets")
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await tickets.execute(f"update tickets.tickets set {change} where id = $1", ticket["id"])
    assert caught.value.constraint_name == constraint


async def test_a_ticket_from_before_the_rules_keeps_its_price_until_that_changes(
    system: System,
) -> None:
    """KWD 5.131 is sold with a fee that completes the step; its seat can still be corrected."""
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller, price=5130, currency="KWD")
    owner = await system.connect()
    await owner.execute("set session_replication_role = replica")
    await owner.execute("update tickets.tickets set price = 5131 where id = $1", ticket["id"])
    path = f"/api/tickets/{ticket['id']}"
    assert (await seller.put(path, {"seat": "12"})).status_code == 200
    assert code(await seller.put(path, {"price": 5133})) == (422, "invalid_input")
    order = await factories.order(buyer, ticket["id"])
    assert (order["subtotal"], order["fee"], order["total"]) == (5131, 259, 5390)
