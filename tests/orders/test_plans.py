"""Lists of orders and of sales examine a bounded number of rows, with any statistics."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from backend.embedded.postgres import Postgres
from backend.kernel import conditions
from backend.kernel.database import Connection
from backend.orders import queries
from backend.orders.model import OrderQuery, SaleQuery
from tests.explaining import explaining_connection, keep_statistics
from tests.stores import filled_template
from tests.system import System

BUYER, SELLER, RARE_BUYER, RARE_SELLER = uuid4(), uuid4(), uuid4(), uuid4()
SHOW, RARE_SHOW = uuid4(), uuid4()
HOLD = timedelta(minutes=5)
STATUSES: list[Any] = [None, "completed", "expired"]

# An order for each minute until now. All have ended unpaid.
ORDERS = """
    with numbered as (
        select n, now() - n * interval '1 minute' as at,
               lpad(to_hex((extract(epoch from now() - n * interval '1 minute') * 1000)::bigint),
                   12, '0') as time
        from generate_series($1::int, $2::int) n
    ), placed as (
        insert into orders.orders (
            id, buyer_id, status, subtotal, fee, total, currency, expires_at, latest_expiry,
            created_at, number
        )
        select (time || lpad(to_hex(n), 20, '0'))::uuid, $3, 'cancelled', 100, 0, 100, 'EUR', at,
               at, at,
               'GT-' || translate(lpad(upper(to_hex(n)), 8, '0'), 'ILOU', '1234')
        from numbered
        returning id, buyer_id
    )
    insert into orders.lines (
        order_id, ticket_id, show_id, seller_id, price, fee, live, buyer_id, show_title, show_venue,
        show_city, show_starts_at, show_timezone
    )
    select id, uuidv7(), $5, $4, 100, 0, false, buyer_id, 'Show', 'Hall', 'City', now(), 'UTC'
    from placed
"""


async def fill(owner: Connection) -> None:
    await keep_statistics(owner, "orders.orders", "orders.lines")
    await owner.execute("set session_replication_role = replica")  # no triggers, no foreign keys
    await owner.execute(ORDERS, 20_001, 20_060, RARE_BUYER, RARE_SELLER, RARE_SHOW)
    await owner.execute("vacuum analyze orders.orders, orders.lines")
    # The statistics are of the first 60 orders.
    await owner.execute(ORDERS, 1, 20_000, BUYER, SELLER, SHOW)


@pytest.fixture(scope="module")
def template(postgres: Postgres) -> Iterator[str]:
    with filled_template(postgres, "many_orders", fill) as name:
        yield name


@pytest.fixture
async def large(system: System) -> Any:
    """A connection as the API has it, and one of the owner, to a database with many orders."""
    owner = await system.connect()
    await owner.execute("set session_replication_role = replica")
    return await explaining_connection(system, "orders", {}), owner


def sale_queries() -> Iterator[SaleQuery]:
    choices: dict[str, list[Any]] = {
        "status": [None, "held", "sold", "released"],
        "show_id": [None, SHOW, RARE_SHOW],
        "since": [None, datetime.now(UTC) - timedelta(days=10)],
    }
    for values in itertools.product(*choices.values()):
        yield SaleQuery(**dict(zip(choices, values, strict=True)))


async def test_each_list_of_sales_examines_a_bounded_number_of_them(large: Any) -> None:
    """With statistics from before most of the tables was written, and with fresh ones."""
    reading, owner = large
    for is_fresh in (False, True):
        if is_fresh:
            await owner.execute("vacuum analyze orders.orders, orders.lines")
        for seller, query in itertools.product((SELLER, RARE_SELLER), sale_queries()):
            reading.plans.clear()
            async with reading.transaction():
                await queries.list_sales(reading, seller, query, None, HOLD)
            assert reading.scans() == set(), (is_fresh, query)
            assert reading.most_examined() <= conditions.MAX_EXAMINED, (is_fresh, query)


async def test_each_list_of_orders_examines_a_bounded_number_of_them(large: Any) -> None:
    reading, owner = large
    for is_fresh in (False, True):
        if is_fresh:
            await owner.execute("vacuum analyze orders.orders, orders.lines")
        for buyer, status in itertools.product((BUYER, RARE_BUYER), STATUSES):
            reading.plans.clear()
            async with reading.transaction():
                query = OrderQuery(status=status)
                await queries.list_orders(reading, buyer, query, None)
            assert reading.scans() == set(), (is_fresh, query)
            assert reading.most_examined() <= conditions.MAX_EXAMINED, (is_fresh, query)


async def test_the_pages_of_orders_and_sales_have_every_rare_one_once(large: Any) -> None:
    """Each page examined its share; a page may be empty."""
    reading, owner = large
    await owner.execute(
        "update orders.orders set status = 'refunded' where id in"
        " (select id from orders.orders where buyer_id = $1 order by id offset 3 limit 5)",
        BUYER,
    )
    orders, pages = [], 0
    order_query, after = OrderQuery(status="refunded", limit=2), None
    while pages == 0 or after is not None:
        async with reading.transaction():
            found = await queries.list_orders(reading, BUYER, order_query, after)
        shown = found.orders[: order_query.limit]
        orders += [order.id for order in shown]
        more = len(found.orders) > order_query.limit
        after, pages = found.examined or (shown[-1].id if more else None), pages + 1
    assert len(orders) == len(set(orders)) == 5
    assert 10 <= pages <= 14
    sales, pages = [], 0
    sale_query, key = SaleQuery(status="refunded", limit=2), None
    while pages == 0 or key is not None:
        async with reading.transaction():
            listed = await queries.list_sales(reading, SELLER, sale_query, key, HOLD)
        lines = listed.sales[: sale_query.limit]
        sales += [line.order_id for line in lines]
        last = queries.SaleKey(lines[-1].order_id, lines[-1].ticket_id) if lines else None
        key = listed.examined or (last if len(listed.sales) > sale_query.limit else None)
        pages += 1
    assert sales == orders


async def test_a_cursor_of_another_user_shows_only_ones_own_rows(large: Any) -> None:
    reading, _ = large
    cursor = UUID("ffffffff-ffff-7fff-bfff-ffffffffffff")
    async with reading.transaction():
        listed = await queries.list_orders(reading, RARE_BUYER, OrderQuery(limit=100), cursor)
        key = queries.SaleKey(cursor, cursor)
        sales = await queries.list_sales(reading, RARE_SELLER, SaleQuery(limit=100), key, HOLD)
    assert {order.buyer_id for order in listed.orders} == {RARE_BUYER}
    assert {sale.show_id for sale in sales.sales} == {RARE_SHOW}
    assert (len(listed.orders), len(sales.sales)) == (60, 60)
    assert msgspec.json.encode(listed.orders[0])
