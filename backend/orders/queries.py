"""The SQL of orders. The functions that change tickets are in `migrations/functions/`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import msgspec

from backend.kernel import correlation
from backend.kernel.budgets import Budgets
from backend.kernel.conditions import Conditions, bounded, plan_by_index
from backend.kernel.database import Connection, Record
from backend.orders.model import (
    ChangedShow,
    Order,
    OrderQuery,
    OrderState,
    Sale,
    SaleQuery,
    SummaryQuery,
    order_at,
)

_EFFECTIVE = "orders.effective_status(o, now())"

read_state = msgspec.json.Decoder(OrderState).decode
_read_shows = msgspec.json.Decoder(dict[UUID, ChangedShow]).decode

# Of the row `w` of an order.
_ORDER = """
    orders.state(w)::text as state, now() as now, orders.changed_shows(w.id)::text as changed,
    orders.returnable(w.id) as returnable
"""

# The status of a sale, for the seller of the ticket. A pending refund may still fail.
_SALE_STATUS = f"""
    case {_EFFECTIVE}
        when 'pending' then 'held'
        when 'awaiting_payment' then 'held'
        when 'confirmed' then 'paying'
        when 'completed' then case l.status when 'refunded' then 'refunded' else 'sold' end
        when 'refund_pending' then case l.status when 'refunded' then 'refunded' else 'sold' end
        when 'refunded' then 'refunded'
        else 'released'
    end
"""

_SALE = """
    l.order_id, o.number as order_number, l.ticket_id, l.show_id, l.title, l.section, l."row",
    l.seat, l.price, l.fee, o.currency, s.status, l.status = 'refund_pending' as refund_pending,
    case when s.status = 'held' then o.expires_at end as held_until,
    case
        when s.status = 'held' then extract(epoch from o.expires_at - now())::float8
    end as seconds_left,
    o.created_at, o.updated_at
"""

# An order's id is generated shortly before its `created_at`.
_ID_MARGIN = timedelta(minutes=1)
# The most shows, or shows in one currency, in a summary.
MAX_SHOWS = 500
# `overdue` stops counting here, which bounds its time.
MAX_COUNTED = 10_000


NO_REPLY = (None,) * 5


class KeyedReply(NamedTuple):
    """The request's idempotency key, and the reply that is stored under it with the order."""

    key: str
    fingerprint: bytes
    lifetime: timedelta
    status: int
    headers: dict[str, str]


class Placing(NamedTuple):
    """The arguments of `orders.place`; `reply` is None for a request without a key."""

    buyer_id: UUID
    ticket_ids: list[UUID]
    hold: timedelta
    grace: timedelta
    fee_percent: Decimal
    max_open_orders: int
    max_tickets_per_show: int
    rehold: timedelta
    budgets: Budgets
    reply: KeyedReply | None


class Placed(NamedTuple):
    """The result of `orders.place`, which documents the outcomes."""

    outcome: str
    status: int | None
    body: str | None
    refused: UUID | None
    refused_until: datetime | None
    spent: str | None
    decided_at: datetime | None


async def place(connection: Connection, placing: Placing) -> Placed:
    placed = await connection.fetchval(
        """
        select orders.place($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        from events.bind_correlation($16)
        """,
        *placing[:-2],
        *placing.budgets,
        *(placing.reply or NO_REPLY),
        correlation.current(),
    )
    return Placed(*placed)


async def cancel(connection: Connection, order_id: UUID, buyer_id: UUID) -> str:
    """Returns the outcome that `orders.cancel` documents."""
    outcome: str = await connection.fetchval(
        "select orders.cancel($1, $2) from events.bind_correlation($3)",
        order_id,
        buyer_id,
        correlation.current(),
    )
    return outcome


class Extension(NamedTuple):
    """The result of `orders.extend`, which documents the outcomes."""

    outcome: str
    body: str | None
    order_status: str | None
    retry_at: datetime | None
    spent: str | None
    decided_at: datetime


async def extend(connection: Connection, order_id: UUID, buyer_id: UUID) -> Extension:
    extended = await connection.fetchval(
        "select orders.extend($1, $2) from events.bind_correlation($3)",
        order_id,
        buyer_id,
        correlation.current(),
    )
    return Extension(*extended)


async def expire_due(connection: Connection, limit: int) -> int:
    """Expire at most `limit` due orders. Returns their number."""
    count: int = await connection.fetchval(
        "select orders.expire_due($1) from events.bind_correlation($2)",
        limit,
        correlation.current(),
    )
    return count


async def due(connection: Connection, limit: int, excluded: Sequence[UUID]) -> list[UUID]:
    """The ids of orders with an ended hold, the first end first."""
    ids: list[UUID] = await connection.fetchval("select orders.due($1, $2)", limit, excluded)
    return ids


async def expire(connection: Connection, order_id: UUID) -> int:
    """Expire one order if it is due. Returns the number of expired orders."""
    count: int = await connection.fetchval(
        "select orders.expire(array[$1::uuid]) from events.bind_correlation($2)",
        order_id,
        correlation.current(),
    )
    return count


async def expire_batches(
    connection: Connection, limit: int, batches: int, excluded: Sequence[UUID]
) -> int:
    """Expire due orders in up to `batches` transactions of `limit` orders. Returns their number."""
    count: int = await connection.fetchval(
        "call orders.expire_batches($1, $2, $3, $4)",
        limit,
        batches,
        excluded,
        correlation.current(),
    )
    return count


async def overdue(connection: Connection) -> tuple[int, float]:
    """The number of overdue orders, up to MAX_COUNTED, and the seconds since the first was due."""
    row = await connection.fetchrow(
        f"""
        select count(*), coalesce(extract(epoch from now() - min(expires_at)), 0)::float8 as oldest
        from (
            select expires_at from orders.orders
            where status in ('pending', 'awaiting_payment') and expires_at <= now()
            order by expires_at limit {MAX_COUNTED}
        ) due
        """
    )
    assert row is not None
    return row["count"], row["oldest"]


async def order(connection: Connection, key: UUID | str, buyer_id: UUID) -> Order | None:
    """The buyer's order with the id or the number `key`."""
    column = "id" if isinstance(key, UUID) else "number"
    row = await connection.fetchrow(
        f"""
        select {_ORDER}
        from orders.orders w where w.{column} = $1 and w.buyer_id = $2
        """,
        key,
        buyer_id,
    )
    return _order(row) if row else None


class ListedOrders(NamedTuple):
    """`examined` is the id of the last order that was examined, if there may be more."""

    orders: list[Order]
    examined: UUID | None


async def list_orders(
    connection: Connection, buyer_id: UUID, query: OrderQuery, after: UUID | None
) -> ListedOrders:
    """Up to `limit + 1` of the buyer's orders, newest first, among the next `MAX_EXAMINED` of them.

    The connection is in a transaction, and its later statements are planned by index.
    """
    await plan_by_index(connection)
    examined = Conditions()
    key = [buyer_id, after] if after else None
    examined.add_range(["o.buyer_id", "o.id"], [buyer_id], [buyer_id], key, is_descending=True)
    filters = Conditions(examined.values)
    if query.status:
        filters.add(f"{_EFFECTIVE} = {{}}", query.status)
    statement = bounded(
        f"{_ORDER}, o.id",
        f"orders.orders o where {examined}",
        filters,
        "o.buyer_id desc, o.id desc",
        examined.parameter(query.limit + 1),
        row="o",
        # A row of a subquery has no type that `orders.state` takes.
        joined="join orders.orders w on w.id = o.id",
    )
    rows = await connection.fetch(statement, *examined.values)
    end = rows.pop()["id"] if rows and rows[-1]["is_end"] else None
    return ListedOrders([_order(row) for row in rows], end)


def _order(row: Record) -> Order:
    return order_at(
        read_state(row["state"]), row["now"], _read_shows(row["changed"]), row["returnable"]
    )


class SaleKey(NamedTuple):
    """A place in a list of sales."""

    order_id: UUID
    ticket_id: UUID


class ListedSales(NamedTuple):
    """`examined` is the place of the last sale that was examined, if there may be more."""

    sales: list[Sale]
    examined: SaleKey | None


async def list_sales(
    connection: Connection,
    seller_id: UUID,
    query: SaleQuery,
    after: SaleKey | None,
    longest_hold: timedelta,
) -> ListedSales:
    """Up to `limit + 1` lines of the seller's tickets, newest order first, among the next
    `MAX_EXAMINED` of them.

    `longest_hold` bounds the search for held tickets: a hold that started earlier has ended. The
    connection is in a transaction, and its later statements are planned by index.
    """
    await plan_by_index(connection)
    first = await _first_order(connection, query, longest_hold)
    examined = Conditions()
    examined.add_range(
        ["l.seller_id", "l.order_id", "l.ticket_id"],
        [seller_id, first] if first else [seller_id],
        [seller_id],
        [seller_id, *after] if after else None,
        is_descending=True,
    )
    filters = Conditions(examined.values)
    if query.status:
        filters.add("s.status = {}", query.status)
    if query.show_id:
        filters.add("l.show_id = {}", query.show_id)
    if query.since:
        filters.add("o.created_at >= {}", query.since)
    statement = bounded(
        _SALE,
        f"orders.lines l where {examined}",
        filters,
        "l.seller_id desc, l.order_id desc, l.ticket_id desc",
        examined.parameter(query.limit + 1),
        row="l",
        joined=f"""
            join orders.orders o on o.id = l.order_id
            cross join lateral (select {_SALE_STATUS} as status) s
        """,
    )
    rows = await connection.fetch(statement, *examined.values)
    end = None
    if rows and rows[-1]["is_end"]:
        last = rows.pop()
        end = SaleKey(last["order_id"], last["ticket_id"])
    return ListedSales([_sale(row) for row in rows], end)


async def _first_order(
    connection: Connection, query: SaleQuery, longest_hold: timedelta
) -> UUID | None:
    """The lowest id that an order of the query can have; None for any."""
    if query.status != "held" and query.since is None:
        return None
    first: UUID = await connection.fetchval(
        """
        select orders.id_at(
            greatest(now() - $1::interval, $2::timestamptz - $3::interval, 'epoch')
        )
        """,
        longest_hold + _ID_MARGIN if query.status == "held" else None,
        query.since,
        _ID_MARGIN,
    )
    return first


def _sale(row: Record) -> Sale:
    return Sale(**{name: row[name] for name in Sale.__struct_fields__})


def _since(timezone: str, days: str) -> str:
    """The midnight at which a period of so many days with today began; of two parameters."""
    return (
        f"date_subtract(date_trunc('day', now(), {timezone}),"
        f" make_interval(days => {days} - 1), {timezone})"
    )


class SalesCount(NamedTuple):
    """The sales of one day or hour in one currency; `currency` is None when there are none."""

    at: datetime
    currency: str | None
    held: int
    paying: int
    sold: int
    released: int
    refunded: int
    revenue: int
    refunded_amount: int


async def count_sales(
    connection: Connection, seller_id: UUID, query: SummaryQuery
) -> list[SalesCount]:
    """A row for each day or hour of the query and each currency in it, oldest first."""
    rows = await connection.fetch(
        f"""
        with span as (select {_since("$2", "$3")} as since), points as (
            select distinct date_trunc($4, g.at, $2) as at
            from span, generate_series(span.since, now(), ('1 ' || $4)::interval, $2) g (at)
        ), counted as (
            select date_trunc($4, o.created_at, $2) as at,
                   o.currency,
                   count(*) filter (where s.status = 'held')::int as held,
                   count(*) filter (where s.status = 'paying')::int as paying,
                   count(*) filter (where s.status = 'sold')::int as sold,
                   count(*) filter (where s.status = 'released')::int as released,
                   count(*) filter (where s.status = 'refunded')::int as refunded,
                   coalesce(sum(l.price) filter (where s.status = 'sold'), 0)::bigint as revenue,
                   coalesce(sum(l.price) filter (where s.status = 'refunded'), 0)::bigint
                       as refunded_amount
            from span
            join orders.lines l
                on l.seller_id = $1 and l.order_id > orders.id_at(span.since - $5::interval)
                and ($6::uuid is null or l.show_id = $6)
            join orders.orders o on o.id = l.order_id and o.created_at >= span.since
            cross join lateral (select {_SALE_STATUS} as status) s
            group by 1, 2
        )
        select at, currency, coalesce(held, 0), coalesce(paying, 0), coalesce(sold, 0),
               coalesce(released, 0), coalesce(refunded, 0), coalesce(revenue, 0),
               coalesce(refunded_amount, 0)
        from points left join counted using (at)
        order by at, currency
        """,
        seller_id,
        query.timezone,
        query.days,
        query.by,
        _ID_MARGIN,
        query.show_id,
    )
    return [SalesCount(*row) for row in rows]


class ShowCount(NamedTuple):
    """The sales of one show in one currency."""

    show_id: UUID
    currency: str
    sold: int
    refunded: int
    revenue: int
    refunded_amount: int


async def count_sales_by_show(
    connection: Connection, seller_id: UUID, query: SummaryQuery
) -> tuple[datetime, list[ShowCount]]:
    """The begin of the period, and a row for each show and currency with sales or refunds in it,
    those of a show together. Up to MAX_SHOWS rows.
    """
    since: datetime = await connection.fetchval(
        f"select {_since('$1', '$2')}", query.timezone, query.days
    )
    rows = await connection.fetch(
        f"""
        select l.show_id, o.currency,
               count(*) filter (where s.status = 'sold')::int as sold,
               count(*) filter (where s.status = 'refunded')::int as refunded,
               coalesce(sum(l.price) filter (where s.status = 'sold'), 0)::bigint as revenue,
               coalesce(sum(l.price) filter (where s.status = 'refunded'), 0)::bigint
                   as refunded_amount
        from orders.lines l
        join orders.orders o on o.id = l.order_id and o.created_at >= $2
        cross join lateral (select {_SALE_STATUS} as status) s
        where l.seller_id = $1 and l.order_id > orders.id_at($2 - $3::interval)
          and s.status in ('sold', 'refunded') and ($4::uuid is null or l.show_id = $4)
        group by l.show_id, o.currency
        order by sum(count(*)) over (partition by l.show_id) desc, l.show_id, sold desc, o.currency
        limit {MAX_SHOWS}
        """,
        seller_id,
        since,
        _ID_MARGIN,
        query.show_id,
    )
    return since, [ShowCount(*row) for row in rows]


async def purge_budgets(connection: Connection) -> None:
    """Delete the budgets that are full again, with the networks in their subjects."""
    await connection.execute("select orders.purge_budgets()")
