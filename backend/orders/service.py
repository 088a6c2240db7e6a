"""The operations on orders. Each function is one unit of work on the caller's connection."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

import asyncpg
from prometheus_client import Counter

from backend.currencies import CURRENCIES
from backend.kernel import idempotency, money
from backend.kernel.budgets import UNLIMITED, BudgetSpent, Spent, budgets_of
from backend.kernel.database import Connection
from backend.kernel.idempotency import KeyedRequest
from backend.kernel.metrics import STALE
from backend.kernel.pagination import Page, decode_cursor, encode_cursor, page_of
from backend.kernel.problems import Invalid, Problem
from backend.kernel.settings import Settings
from backend.kernel.shown_shows import ShownShows, moved
from backend.kernel.time_zones import check_zone
from backend.orders import queries, sqlstates
from backend.orders.errors import (
    AlreadyExtended,
    CoolingDown,
    ExtensionNotAllowed,
    MixedCurrency,
    OrderNotCancellable,
    OrderNotExtendable,
    OrderNotFound,
    OwnTicket,
    PriceChanged,
    SalesEnded,
    ShowChanged,
    TicketGivenUp,
    TicketNotFound,
    TicketUnavailable,
    TooManyOpenOrders,
    TooManyTickets,
    TooManyTicketsOfShow,
    TotalTooLarge,
    TotalTooSmall,
)
from backend.orders.model import (
    NewOrder,
    Order,
    OrderQuery,
    Sale,
    SaleQuery,
    SalesByShow,
    SalesPoint,
    SalesSummary,
    ShowSales,
    SummaryQuery,
    Takings,
    order_at,
)
from backend.orders.numbers import read_key
from backend.orders.queries import (
    Extension,
    KeyedReply,
    Placed,
    Placing,
    SaleKey,
    SalesCount,
    ShowCount,
)
from backend.orders.sqlstates import BuyerBusy, DisplacedBusy

# The reply to a placed order, which `orders.place` stores under the idempotency key.
PLACED_STATUS = 201
PLACED_HEADERS = {"content-type": "application/json"}

# The index that allows one live line for each ticket.
ONE_LIVE_LINE = "lines_one_live_per_ticket"

PLACED = Counter("gittix_orders_placed", "Attempts to place an order", ["outcome"])
EXTENDED = Counter(
    "gittix_holds_extended", "Requests of buyers to extend an unpaid hold", ["outcome"]
)


async def place(
    connection: Connection,
    settings: Settings,
    buyer_id: UUID,
    new: NewOrder,
    keyed: KeyedRequest | None,
    address: str,
) -> Placed:
    """Place an order in one statement, which is its own transaction unless a `shown_total` or
    `shown_shows` are compared.

    `address` is the client's. Returns the order, or the stored reply to the first request with this
    key, which may be a refusal. Raises PriceChanged, ShowChanged, TicketUnavailable,
    TicketNotFound, OwnTicket, SalesEnded, MixedCurrency, TooManyTickets, TooManyTicketsOfShow,
    TotalTooSmall, TotalTooLarge, TooManyOpenOrders, CoolingDown, TicketGivenUp, Invalid, and
    the errors of the idempotency key; BuyerBusy and DisplacedBusy when a lock was not free in time.
    """
    is_limited = settings.rate_limits == "on"
    placing = Placing(
        buyer_id=buyer_id,
        ticket_ids=_ticket_ids(new, settings.max_tickets_per_order),
        hold=timedelta(seconds=settings.hold_seconds),
        grace=timedelta(seconds=settings.payment_grace_seconds),
        fee_percent=settings.fee_percent,
        max_open_orders=settings.max_open_orders,
        max_tickets_per_show=settings.max_tickets_per_show,
        rehold=timedelta(seconds=settings.rehold_seconds if is_limited else 0),
        budgets=budgets_of(
            "unpaid",
            buyer_id,
            address,
            of_account=settings.unpaid_ticket_seconds,
            of_address=settings.unpaid_ticket_seconds_of_address,
        )
        if is_limited
        else UNLIMITED,
        reply=_keyed_reply(keyed) if keyed else None,
    )
    try:
        placed = await _place(connection, placing, new)
    except (BuyerBusy, DisplacedBusy):
        raise
    except (asyncpg.LockNotAvailableError, asyncpg.UniqueViolationError) as error:
        if isinstance(error, asyncpg.UniqueViolationError) and (
            error.constraint_name != ONE_LIVE_LINE
        ):
            raise
        # The transaction that has the row takes the ticket.
        PLACED.labels("ticket_unavailable").inc()
        raise TicketUnavailable("another buyer was faster: choose another ticket") from error
    except sqlstates.TooManyTicketsOfShow as error:
        PLACED.labels("too_many_tickets_of_show").inc()
        most = settings.max_tickets_per_show
        raise TooManyTicketsOfShow(
            f"you may have {most} tickets of a show: choose fewer", max_tickets_per_show=most
        ) from error
    except (sqlstates.TotalTooSmall, sqlstates.TotalTooLarge) as error:
        problem = _total_refused(error)
        PLACED.labels(problem.code).inc()
        raise problem from error
    except BudgetSpent as error:
        PLACED.labels("cooling_down").inc()
        raise _cooling_down(Spent.of(error)) from error
    PLACED.labels(placed.outcome).inc()
    if placed.outcome not in {"placed", "replayed"}:
        raise _refusal(placed, settings)
    return placed


async def _place(connection: Connection, placing: Placing, new: NewOrder) -> Placed:
    if new.shown_total is None and new.shown_shows is None:
        return await queries.place(connection, placing)
    # The prices and shows are known once the tickets are held; the error undoes the hold.
    async with connection.transaction():
        placed = await queries.place(connection, placing)
        if placed.outcome == "placed":
            order = placed_order(placed)
            _require_shows(order, new.shown_shows)
            _require_total(order, new.shown_total)
    return placed


def _require_shows(order: Order, shown: ShownShows | None) -> None:
    if shown is None:
        return
    changed = moved(shown, {line.show_id: line.show for line in order.tickets})
    if not changed:
        return
    PLACED.labels("show_changed").inc()
    raise ShowChanged(
        "a show has another place or time than was shown: confirm the new one", shows=changed
    )


def _require_total(order: Order, shown_total: int | None) -> None:
    if shown_total is None or order.total <= shown_total:
        return
    PLACED.labels("price_changed").inc()
    raise PriceChanged(
        "the tickets cost more than the total that was shown: confirm the new one",
        shown_total=shown_total,
        total=order.total,
        currency=order.currency,
        prices=[{"ticket_id": str(line.id), "price": line.price} for line in order.tickets],
    )


def _keyed_reply(keyed: KeyedRequest) -> KeyedReply:
    return KeyedReply(
        keyed.key, keyed.fingerprint, idempotency.RETENTION, PLACED_STATUS, PLACED_HEADERS
    )


def placed_order(placed: Placed) -> Order:
    """The order in `body`, at the time when it was placed."""
    assert placed.body is not None
    state = queries.read_state(placed.body)
    return order_at(state, state.created_at)


async def cancel(connection: Connection, order_id: UUID, buyer_id: UUID) -> None:
    """Cancel a buyer's unpaid order. Raises OrderNotFound, OrderNotCancellable."""
    outcome = await queries.cancel(connection, order_id, buyer_id)
    if outcome == "not_found":
        raise OrderNotFound
    if outcome != "done":
        STALE.labels("cancel").inc()
        raise OrderNotCancellable(f"the order is {outcome.replace('_', ' ')}", order_status=outcome)


async def extend(connection: Connection, order_id: UUID, buyer_id: UUID) -> Order:
    """Extend a buyer's unpaid hold, which is possible once. Raises OrderNotFound,
    ExtensionNotAllowed, AlreadyExtended, OrderNotExtendable, SalesEnded, CoolingDown.
    """
    try:
        extension = await queries.extend(connection, order_id, buyer_id)
    except BudgetSpent as error:
        EXTENDED.labels("cooling_down").inc()
        raise _cooling_down(Spent.of(error)) from error
    EXTENDED.labels(extension.outcome).inc()
    if extension.outcome != "extended":
        raise _not_extended(extension)
    assert extension.body is not None
    return order_at(queries.read_state(extension.body), extension.decided_at)


def _not_extended(extension: Extension) -> Problem:
    match extension.outcome:
        case "not_found":
            return OrderNotFound()
        case "not_allowed":
            return ExtensionNotAllowed('switch "I need more time" on in your account first')
        case "already_extended":
            return AlreadyExtended("a hold is extended once: pay before it ends")
        case "not_extendable":
            status = str(extension.order_status)
            return OrderNotExtendable(
                f"the order is {status.replace('_', ' ')}: only an unpaid hold is extended,"
                " before its payment begins",
                order_status=status,
            )
        case "sales_ended":
            return SalesEnded("the sales of the show end with this hold: pay before it ends")
        case "cooling_down":
            assert extension.spent
            assert extension.retry_at
            return _cooling_down(
                Spent.at(extension.spent, extension.retry_at, extension.decided_at)
            )
    raise AssertionError(extension.outcome)


async def order(connection: Connection, key: str, buyer_id: UUID) -> Order:
    """The buyer's order with the id or the number `key`, as typed. Raises OrderNotFound."""
    found = await queries.order(connection, read_key(key), buyer_id)
    if found is None:
        raise OrderNotFound
    return found


async def list_orders(connection: Connection, buyer_id: UUID, query: OrderQuery) -> Page[Order]:
    """A page of a buyer's orders, newest first. Raises Invalid for an unusable cursor."""
    after = decode_cursor(query.cursor, UUID)
    rows, examined = await queries.list_orders(connection, buyer_id, query, after)
    if examined is not None:
        return Page(rows, encode_cursor(examined))
    return page_of(rows, query.limit, lambda row: row.id)


async def list_sales(
    connection: Connection, settings: Settings, seller_id: UUID, query: SaleQuery
) -> Page[Sale]:
    """A page of a seller's sales, newest first. Raises Invalid for an unusable cursor."""
    after = decode_cursor(query.cursor, SaleKey)
    # A hold and its extension are equally long.
    longest_hold = timedelta(seconds=2 * settings.hold_seconds + settings.payment_grace_seconds)
    rows, examined = await queries.list_sales(connection, seller_id, query, after, longest_hold)
    if examined is not None:
        return Page(rows, encode_cursor(examined))
    return page_of(rows, query.limit, lambda row: SaleKey(row.order_id, row.ticket_id))


async def summary(connection: Connection, seller_id: UUID, query: SummaryQuery) -> SalesSummary:
    """A seller's sales by day or hour. Raises Invalid for an unknown time zone."""
    zone = check_zone("timezone", query.timezone)
    counted = await queries.count_sales(connection, seller_id, query)
    points = [_point(at, list(rows)) for at, rows in groupby(counted, lambda row: row.at)]
    return SalesSummary(zone, points[0].at, points)


async def sales_by_show(
    connection: Connection, seller_id: UUID, query: SummaryQuery
) -> SalesByShow:
    """A seller's sales of a period by show. Raises Invalid for an unknown time zone."""
    zone = check_zone("timezone", query.timezone)
    since, counted = await queries.count_sales_by_show(connection, seller_id, query)
    items = [
        _show_sales(show_id, list(rows))
        for show_id, rows in groupby(counted, lambda row: row.show_id)
    ]
    return SalesByShow(zone, since, items)


def _show_sales(show_id: UUID, rows: Sequence[ShowCount]) -> ShowSales:
    return ShowSales(
        show_id,
        sold=sum(row.sold for row in rows),
        refunded=sum(row.refunded for row in rows),
        revenue=[
            Takings(row.currency, row.revenue, row.sold, row.refunded, row.refunded_amount)
            for row in rows
        ],
    )


def _point(at: datetime, rows: Sequence[SalesCount]) -> SalesPoint:
    return SalesPoint(
        at,
        held=sum(row.held for row in rows),
        paying=sum(row.paying for row in rows),
        sold=sum(row.sold for row in rows),
        released=sum(row.released for row in rows),
        refunded=sum(row.refunded for row in rows),
        revenue=[
            Takings(row.currency, row.revenue, row.sold, row.refunded, row.refunded_amount)
            for row in rows
            if row.currency and (row.sold or row.refunded)
        ],
    )


def _ticket_ids(new: NewOrder, most: int) -> list[UUID]:
    if (new.ticket_id is None) == (new.ticket_ids is None):
        raise Invalid("the order needs either ticket_id or ticket_ids: give exactly one")
    wanted: Sequence[UUID] = (
        new.ticket_ids if new.ticket_ids is not None else [new.ticket_id] if new.ticket_id else []
    )
    distinct = sorted(set(wanted))
    if len(distinct) != len(wanted):
        raise Invalid(
            "a ticket is in the order twice: name each ticket once", code="duplicate_ticket"
        )
    if len(distinct) > most:
        raise TooManyTickets(f"an order may have {most} tickets: choose fewer", max_tickets=most)
    return distinct


def _total_refused(
    error: sqlstates.TotalTooSmall | sqlstates.TotalTooLarge,
) -> TotalTooSmall | TotalTooLarge:
    assert error.detail
    rules = CURRENCIES[error.detail]
    if isinstance(error, sqlstates.TotalTooLarge):
        most = money.show(rules.maximum, rules.code)
        return TotalTooLarge(
            f"one payment takes at most {most}: choose fewer tickets",
            currency=rules.code,
            maximum=rules.maximum,
        )
    least = money.show(rules.minimum, rules.code)
    return TotalTooSmall(
        f"one payment takes at least {least}: choose more or other tickets",
        currency=rules.code,
        minimum=rules.minimum,
    )


def _cooling_down(spent: Spent) -> CoolingDown:
    return CoolingDown(
        "tickets were held unpaid for too long from this account: wait until `retry_at`"
        if spent.owner == "account"
        else "tickets were held unpaid for too long from this network: wait until `retry_at`",
        limited=spent.owner,
        retry_at=spent.retry_at,
        headers={"Retry-After": str(spent.wait_seconds)},
    )


def _refusal(placed: Placed, settings: Settings) -> Problem:
    match placed.outcome:
        case "ticket_unavailable":
            return TicketUnavailable(
                "another buyer has the ticket: choose another one"
                if placed.refused_until is None
                else "another buyer holds the ticket: try again when the hold ends",
                ticket_id=placed.refused,
                held_until=placed.refused_until,
            )
        case "ticket_not_found":
            return TicketNotFound()
        case "own_ticket":
            return OwnTicket("this ticket is yours: choose another one", ticket_id=placed.refused)
        case "sales_ended":
            return SalesEnded(
                "tickets of this show are not on sale any more",
                ticket_id=placed.refused,
            )
        case "mixed_currency":
            return MixedCurrency("an order has one currency: order the other tickets separately")
        case "too_many_open_orders":
            most = settings.max_open_orders
            return TooManyOpenOrders(
                f"pay for or cancel one of your {most} open orders first", max_open_orders=most
            )
        case "cooling_down":
            assert placed.spent
            assert placed.refused_until
            assert placed.decided_at
            return _cooling_down(Spent.at(placed.spent, placed.refused_until, placed.decided_at))
        case "given_up":
            assert placed.refused_until
            assert placed.decided_at
            wait = math.ceil((placed.refused_until - placed.decided_at).total_seconds())
            return TicketGivenUp(
                "you gave this ticket up, and others may take it now: wait until `retry_at`",
                ticket_id=placed.refused,
                retry_at=placed.refused_until,
                headers={"Retry-After": str(wait)},
            )
        case "key_in_flight":
            return idempotency.in_flight()
        case "key_reused":
            return idempotency.reused()
    raise AssertionError(placed.outcome)
