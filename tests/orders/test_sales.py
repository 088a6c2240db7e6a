"""A seller's sales: the status of each ticket in pages, counts by day, and nothing of the buyer."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from tests import factories
from tests.factories import Json
from tests.orders.rows import backdate, make_overdue
from tests.replies import code
from tests.system import Person, System

NOTHING = {"held": 0, "paying": 0, "sold": 0, "released": 0, "refunded": 0, "revenue": []}


async def sales(seller: Person, **query: Any) -> list[Json]:
    reply = await seller.get("/api/sales", **query)
    assert reply.status_code == 200, reply.text
    found: list[Json] = reply.json()["items"]
    return found


async def summary(seller: Person, **query: Any) -> Json:
    reply = await seller.get("/api/sales/summary", **query)
    assert reply.status_code == 200, reply.text
    found: Json = reply.json()
    return found


async def pay(system: System, order: Json, *, until: str = "finish") -> None:
    """Run the payment's steps up to `begin_payment`, `settle` or `finish`."""
    payments, payment, order_id = await system.connect("payments"), uuid4(), UUID(order["id"])
    await payments.execute(
        "select from orders.begin_payment($1, $2, $3)", order_id, UUID(order["buyer_id"]), payment
    )
    if until in {"settle", "finish"}:
        await payments.execute(
            "select orders.settle($1, $2, $3, $4)",
            order_id,
            payment,
            order["total"],
            order["currency"],
        )
    if until == "finish":
        await payments.execute("select orders.finish($1, $2)", order_id, payment)


async def refund(system: System, order: Json) -> None:
    payments, refund_id, order_id = await system.connect("payments"), uuid4(), UUID(order["id"])
    await payments.execute(
        "select orders.begin_refund($1, $2, $3, true, false)",
        order_id,
        refund_id,
        UUID(order["buyer_id"]),
    )
    await payments.execute("select orders.finish_refund($1, $2, false)", order_id, refund_id)


async def test_a_seller_reads_a_hold_with_its_end_and_without_its_buyer(
    system: System,
) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller, section="Balcony", row="A", seat="7", price=5200)
    order = await factories.order(buyer, ticket["id"])
    [sale] = await sales(seller)
    assert 58 < sale.pop("seconds_left") <= 60
    assert sale.pop("created_at") <= sale.pop("updated_at")
    assert sale == {
        "order_id": order["id"],
        "order_number": order["number"],
        "ticket_id": ticket["id"],
        "show_id": ticket["show_id"],
        "title": None,
        "section": "Balcony",
        "row": "A",
        "seat": "7",
        "price": 5200,
        "fee": 260,
        "currency": "EUR",
        "status": "held",
        "refund_pending": False,
        "held_until": order["expires_at"],
    }
    assert str(buyer.id) not in (await seller.get("/api/sales")).text


async def test_the_status_of_a_sale_follows_its_order(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    owner = await system.connect()

    async def one() -> Json:
        return await factories.order(buyer, (await factories.ticket(seller))["id"])

    expected = {}
    expected[(await one())["id"]] = "held"
    for until, status in (("begin_payment", "held"), ("settle", "paying"), ("finish", "sold")):
        order = await one()
        await pay(system, order, until=until)
        expected[order["id"]] = status
    overdue = await one()
    await make_overdue(owner, overdue)
    expected[overdue["id"]] = "released"
    cancelled = await one()
    assert (await buyer.delete(f"/api/orders/{cancelled['id']}")).status_code == 204
    expected[cancelled["id"]] = "released"
    refunded = await one()
    await pay(system, refunded)
    await refund(system, refunded)
    expected[refunded["id"]] = "refunded"
    found = await sales(seller, limit=100)
    assert {sale["order_id"]: sale["status"] for sale in found} == expected
    assert [sale["order_id"] for sale in found] == sorted(expected, reverse=True)
    for status in set(expected.values()):
        assert {sale["order_id"] for sale in await sales(seller, status=status)} == {
            order_id for order_id, is_ in expected.items() if is_ == status
        }
    assert all((sale["held_until"] is not None) == (sale["status"] == "held") for sale in found)


async def test_each_seller_reads_only_its_own_lines_of_a_shared_order(system: System) -> None:
    await system.start("api")
    one, two, buyer = system.person("one"), system.person("two"), system.person("buyer")
    mine, other = await factories.ticket(one), await factories.ticket(two)
    order = await factories.order(buyer, mine["id"], other["id"])
    assert [(sale["order_id"], sale["ticket_id"]) for sale in await sales(one)] == [
        (order["id"], mine["id"])
    ]
    assert [(sale["order_id"], sale["ticket_id"]) for sale in await sales(two)] == [
        (order["id"], other["id"])
    ]
    assert await sales(buyer) == []
    assert sum(point["held"] for point in (await summary(one))["points"]) == 1
    assert all(point == NOTHING | {"at": point["at"]} for point in (await summary(buyer))["points"])


async def test_pages_of_sales_are_complete_and_without_duplicates(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    tickets = [(await factories.ticket(seller, show["id"]))["id"] for _ in range(7)]
    # Some orders have several lines, so a page ends within one.
    for cart in (tickets[:3], tickets[3:4], tickets[4:]):
        await factories.order(buyer, *cart)
    whole = await sales(seller, limit=100)
    seen: list[Json] = []
    cursor: str | None = None
    for _ in range(4):
        page = (
            await seller.get("/api/sales", limit=2, **({"cursor": cursor} if cursor else {}))
        ).json()
        seen += page["items"]
        cursor = page["next_cursor"]
    assert cursor is None
    assert [sale["ticket_id"] for sale in seen] == [sale["ticket_id"] for sale in whole]
    assert sorted(sale["ticket_id"] for sale in seen) == sorted(tickets)


async def test_a_summary_has_every_day_and_counts_sales_by_status(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    owner = await system.connect()
    for price, currency in ((4500, "EUR"), (5500, "EUR"), (9800, "JPY")):
        ticket = await factories.ticket(seller, price=price, currency=currency)
        await pay(system, await factories.order(buyer, ticket["id"]))
    back = await factories.order(buyer, (await factories.ticket(seller))["id"])
    await pay(system, back)
    await refund(system, back)
    await make_overdue(owner, await factories.order(buyer, (await factories.ticket(seller))["id"]))
    await factories.order(buyer, (await factories.ticket(seller))["id"])
    found = await summary(seller, days=3)
    *before, today = found["points"]
    assert [point == NOTHING | {"at": point["at"]} for point in before] == [True, True]
    assert {name: today[name] for name in NOTHING} == {
        "held": 1,
        "paying": 0,
        "sold": 3,
        "released": 1,
        "refunded": 1,
        "revenue": [
            {
                "currency": "EUR",
                "amount": 10000,
                "sold": 2,
                "refunded": 1,
                "refunded_amount": 4500,
            },
            {"currency": "JPY", "amount": 9800, "sold": 1, "refunded": 0, "refunded_amount": 0},
        ],
    }
    assert found["since"] == before[0]["at"]


async def test_sales_and_totals_are_filtered_by_show_and_time(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    owner = await system.connect()
    one, two = [await factories.show(seller, title=title) for title in ("One", "Two")]
    first = await factories.ticket(seller, one["id"], price=4000)
    second = await factories.ticket(seller, two["id"], price=6000)
    for ticket in (first, second):
        await pay(system, await factories.order(buyer, ticket["id"]))
    assert [sale["ticket_id"] for sale in await sales(seller, show_id=one["id"])] == [first["id"]]
    total = (await summary(seller, days=1, show_id=two["id"]))["points"][-1]
    assert (total["sold"], total["revenue"][0]["amount"]) == (1, 6000)
    everything = (await summary(seller, days=1))["points"][-1]
    assert (everything["sold"], everything["revenue"][0]["amount"]) == (2, 10000)
    now = datetime.now(UTC)
    [old] = await sales(seller, show_id=one["id"])
    await backdate(owner, {"id": old["order_id"]}, seconds=3 * 86_400)
    assert len(await sales(seller, since=(now - timedelta(days=4)).isoformat())) == 2
    assert len(await sales(seller, since="0001-01-01T00:00:00Z")) == 2
    assert await sales(seller, since="9999-12-30T00:00:00Z") == []
    recent = await sales(seller, since=(now - timedelta(days=2)).isoformat())
    assert [sale["ticket_id"] for sale in recent] == [second["id"]]
    held = await sales(seller, status="held", since=(now - timedelta(days=2)).isoformat())
    assert held == []


async def test_the_sales_of_each_show_add_up_to_the_summary(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    one, two = [await factories.show(seller, title=title) for title in ("One", "Two")]
    bought = [(one, 4000, "EUR"), (one, 5000, "EUR"), (one, 9800, "JPY"), (two, 7000, "EUR")]
    for show, price, currency in bought:
        ticket = await factories.ticket(seller, show["id"], price=price, currency=currency)
        await pay(system, await factories.order(buyer, ticket["id"]))
    back = await factories.ticket(seller, two["id"], price=2500)
    order = await factories.order(buyer, back["id"])
    await pay(system, order)
    await refund(system, order)
    await factories.order(buyer, (await factories.ticket(seller, two["id"]))["id"])
    reply = await seller.get("/api/sales/shows", days=7)
    assert reply.status_code == 200, reply.text
    by_show = {show["show_id"]: show for show in reply.json()["items"]}
    euros = {"currency": "EUR", "refunded": 0, "refunded_amount": 0}
    assert by_show == {
        one["id"]: {
            "show_id": one["id"],
            "sold": 3,
            "refunded": 0,
            "revenue": [
                euros | {"amount": 9000, "sold": 2},
                euros | {"currency": "JPY", "amount": 9800, "sold": 1},
            ],
        },
        two["id"]: {
            "show_id": two["id"],
            "sold": 1,
            "refunded": 1,
            "revenue": [
                {
                    "currency": "EUR",
                    "amount": 7000,
                    "sold": 1,
                    "refunded": 1,
                    "refunded_amount": 2500,
                }
            ],
        },
    }
    assert list(by_show) == [one["id"], two["id"]]
    points = (await summary(seller, days=7))["points"]
    assert reply.json()["since"] == points[0]["at"]
    for name in ("sold", "refunded"):
        assert sum(point[name] for point in points) == sum(show[name] for show in by_show.values())
    narrowed = await seller.get("/api/sales/shows", days=7, show_id=two["id"])
    assert narrowed.json()["items"] == [by_show[two["id"]]]
    assert (await buyer.get("/api/sales/shows")).json()["items"] == []


@pytest.mark.parametrize("zone", ["UTC", "Europe/Amsterdam", "Asia/Kolkata", "Pacific/Kiritimati"])
async def test_a_day_begins_at_midnight_in_the_sellers_time_zone(zone: str, system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    owner = await system.connect()
    order = await factories.order(buyer, (await factories.ticket(seller))["id"])
    midnight = datetime.now(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [midnight - timedelta(days=before) for before in (2, 1, 0)]
    for held_at, expected in ((midnight - timedelta(seconds=1), [0, 1, 0]), (midnight, [0, 0, 1])):
        await move(owner, order, held_at)
        points = (await summary(seller, days=3, timezone=zone))["points"]
        assert [datetime.fromisoformat(point["at"]) for point in points] == days
        assert [point["held"] + point["released"] for point in points] == expected


async def test_a_summary_by_hour_has_a_point_for_each_hour_since_midnight(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    await factories.order(buyer, (await factories.ticket(seller))["id"])
    points = (await summary(seller, days=1, by="hour"))["points"]
    hours = [datetime.fromisoformat(point["at"]) for point in points]
    assert hours[0] == datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert {later - earlier for earlier, later in pairwise(hours)} <= {timedelta(hours=1)}
    assert [point["held"] for point in points] == [0] * (len(points) - 1) + [1]


async def test_sales_need_a_session(system: System) -> None:
    await system.start("api")
    anonymous = system.anonymous()
    assert code(await anonymous.get("/api/sales")) == (401, "unauthorized")
    assert code(await anonymous.get("/api/sales/summary")) == (401, "unauthorized")
    assert code(await anonymous.get("/api/sales/shows")) == (401, "unauthorized")


async def test_sales_are_found_by_their_index(system: System) -> None:
    """The plan for one seller among many, when a sequential scan is possible but expensive."""
    await system.start("api")
    owner = await system.connect()
    indexed: str = await owner.fetchval(
        "select indexdef from pg_indexes where indexname = 'lines_seller' and schemaname = 'orders'"
    )
    assert "(seller_id, order_id, ticket_id)" in indexed
    await owner.execute("set enable_seqscan = off")
    plan = await owner.fetch(
        "explain select * from orders.lines l"
        " where l.seller_id = $1 and (l.order_id, l.ticket_id) < ($2, $2)"
        " order by l.order_id desc, l.ticket_id desc limit 21",
        uuid4(),
        uuid4(),
    )
    assert "lines_seller" in " ".join(row[0] for row in plan)


async def move(owner: Any, order: Json, held_at: datetime) -> None:
    """Move the order to another time, with an id that begins with that time."""
    milliseconds = f"{int(held_at.timestamp() * 1000):012x}"
    [old] = await owner.fetch(
        "select id from orders.orders where buyer_id = $1", UUID(order["buyer_id"])
    )
    new = UUID(milliseconds + old["id"].hex[12:])
    await owner.execute("alter table orders.lines drop constraint if exists lines_order_id_fkey")
    await owner.execute(
        "update orders.orders set id = $2, created_at = $3 where id = $1", old["id"], new, held_at
    )
    await owner.execute("update orders.lines set order_id = $2 where order_id = $1", old["id"], new)
