"""The number of an order: random, unique, and found as people type it."""

import re
from uuid import UUID

import asyncpg
import pytest

from backend.orders.errors import OrderNotFound
from backend.orders.numbers import read_key
from tests import factories
from tests.replies import code
from tests.system import System

NUMBER = re.compile(r"GT-[0-9A-HJKMNP-TV-Z]{8}")
ID = "0197f3a0-0000-7000-8000-000000000000"


async def test_an_order_has_a_number_that_finds_it_for_its_buyer_only(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller)
    order = await factories.order(buyer, ticket["id"])
    number = order["number"]
    assert NUMBER.fullmatch(number)
    for typed in (number, number.lower(), number.replace("-", ""), f" {number[3:7]} {number[7:]}"):
        found = await buyer.get(f"/api/orders/{typed}")
        assert (found.status_code, found.json().get("id")) == (200, order["id"])
    assert code(await system.person("other").get(f"/api/orders/{number}")) == (
        404,
        "order_not_found",
    )
    assert code(await buyer.get("/api/orders/GT-22222222")) == (404, "order_not_found")
    [listed] = (await buyer.get("/api/orders")).json()["items"]
    [sale] = (await seller.get("/api/sales")).json()["items"]
    assert listed["number"] == sale["order_number"] == number


@pytest.mark.parametrize(
    "typed",
    ["GT-7K3M01QA", "gt-7k3m01qa", "GT7K3MO1QA", "gt 7k3mOiqa", "GT-7K3M-0LQA", "7k3m0lqa"],
)
def test_a_number_is_read_as_people_type_it(typed: str) -> None:
    assert read_key(typed) == "GT-7K3M01QA"


@pytest.mark.parametrize(
    "typed", ["", "GT-", "GT-7K3M01Q", "GT-7K3M01QAB", "GT-7K3M01QU", "GT-7K3M01Q\u0660", "x"]
)
def test_other_text_is_no_order(typed: str) -> None:
    with pytest.raises(OrderNotFound):
        read_key(typed)


def test_an_id_is_read_as_an_id() -> None:
    assert read_key(ID) == read_key(ID.replace("-", "")) == UUID(ID)


async def test_numbers_use_all_digits_and_do_not_follow_each_other(system: System) -> None:
    owner = await system.connect()
    rows = await owner.fetch("select orders.random_number() from generate_series(1, 2000)")
    numbers = [number for (number,) in rows]
    assert all(NUMBER.fullmatch(number) for number in numbers)
    assert len(set(numbers)) == len(numbers)
    assert all(len({number[place] for number in numbers}) == 32 for place in range(3, 11))


async def test_a_number_that_an_order_has_is_not_given_again(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    tickets = [await factories.ticket(seller, show["id"]) for _ in range(3)]
    first = await factories.order(buyer, tickets[0]["id"])
    owner = await system.connect()
    # The first three numbers are those of the first order.
    await owner.execute(
        f"""
        create sequence orders.attempts;
        grant usage on sequence orders.attempts to public;
        create or replace function orders.random_number() returns text language sql volatile return
            case when nextval('orders.attempts') < 4 then '{first["number"]}' else 'GT-ZZZZZZZZ' end
        """
    )
    second = await factories.order(buyer, tickets[1]["id"])
    assert second["number"] == "GT-ZZZZZZZZ"
    # Every attempt meets an order, so nothing is placed.
    await owner.execute("select setval('orders.attempts', 1)")
    await owner.execute(
        "create or replace function orders.random_number() returns text language sql volatile"
        " return 'GT-ZZZZZZZZ'"
    )
    placed = await buyer.post("/api/orders", {"ticket_id": tickets[2]["id"]})
    assert placed.status_code == 500
    assert await owner.fetchval("select count(*) from orders.orders") == 2


async def test_the_database_refuses_a_second_order_with_a_number(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    first, second = [
        await factories.order(buyer, (await factories.ticket(seller, show["id"]))["id"])
        for _ in range(2)
    ]
    owner = await system.connect()
    with pytest.raises(asyncpg.UniqueViolationError, match="orders_number_unique"):
        await owner.execute(
            "update orders.orders set number = $1 where id = $2",
            first["number"],
            UUID(second["id"]),
        )
