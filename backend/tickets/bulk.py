"""Changes of many tickets of a seller in one transaction, each with an outcome of its own.

The database decides which tickets are free and changes these (`tickets.set_prices`,
`tickets.withdraw_all`). One that stays as it was has an error, so a buyer who was faster stops no
other change.
"""

from collections.abc import Sequence
from uuid import UUID

from backend.kernel import money
from backend.kernel.database import Connection
from backend.kernel.principal import Principal
from backend.kernel.problems import invalid
from backend.tickets import seller_queries
from backend.tickets.errors import (
    NotYourTicket,
    OtherCurrency,
    PriceAboveRefunded,
    TicketNotFound,
    TicketTaken,
    TicketWithdrawn,
)
from backend.tickets.model import ChangedTicket, Ticket, TicketError, TicketsChange
from backend.tickets.rules import check_amounts, known_currency


async def change_tickets(
    connection: Connection, seller: Principal, change: TicketsChange
) -> list[ChangedTicket]:
    """The outcome of each ticket, in the order of the request. Raises Invalid."""
    ids = change.ticket_ids
    if len(set(ids)) < len(ids):
        raise invalid("ticket_ids", "must name each ticket once")
    if change.withdraw == (change.price is not None):
        raise invalid("price", "must be given, or withdraw: exactly one of them")
    if change.price is None:
        changed = await seller_queries.withdraw(connection, ids, seller.user_id)
        return await _outcomes(connection, ids, changed, seller.user_id)
    if change.currency is None:
        raise invalid("currency", "must be given with price")
    currency = known_currency(change.currency)
    check_amounts(change.price, None, currency)
    changed = await seller_queries.set_prices(
        connection, ids, seller.user_id, change.price, currency
    )
    return await _outcomes(
        connection, ids, changed, seller.user_id, price=change.price, currency=currency
    )


async def _outcomes(
    connection: Connection,
    ids: Sequence[UUID],
    changed: set[UUID],
    seller_id: UUID,
    *,
    price: int | None = None,
    currency: str | None = None,
) -> list[ChangedTicket]:
    """The tickets after the change, each with its error unless it is as the seller wanted it."""
    found = await seller_queries.tickets(connection, ids)
    unchanged = [ticket_id for ticket_id in ids if ticket_id not in changed]
    caps = {}
    if price is not None and unchanged:
        caps = await seller_queries.price_caps(connection, unchanged)
    outcomes = []
    for ticket_id in ids:
        ticket = found.get(ticket_id)
        error = None
        if ticket_id not in changed:
            cap = caps.get(ticket_id)
            error = _error(ticket, seller_id, price, currency, cap)
        own = ticket if ticket and ticket.seller_id == seller_id else None
        outcomes.append(ChangedTicket(ticket_id, own, error))
    return outcomes


def _error(
    ticket: Ticket | None,
    seller_id: UUID,
    price: int | None,
    currency: str | None,
    cap: int | None,
) -> TicketError | None:
    """Why a ticket was not changed; None for a free one that has the price already."""
    if ticket is None:
        return TicketError(TicketNotFound.code, "there is no such ticket")
    if ticket.seller_id != seller_id:
        return TicketError(NotYourTicket.code, "another user sells this ticket")
    if ticket.status == "withdrawn":
        return TicketError(TicketWithdrawn.code, "the ticket is withdrawn")
    if ticket.status == "available" and currency not in (None, ticket.currency):
        return TicketError(OtherCurrency.code, f"the ticket is priced in {ticket.currency}")
    if ticket.status == "available" and price == ticket.price:
        return None
    if ticket.status == "available" and price is not None and cap is not None and price > cap:
        most = money.show(cap, ticket.currency)
        return TicketError(
            PriceAboveRefunded.code, f"it must cost at most {most}: you refunded its sale"
        )
    # A hold may have ended between the change and this read.
    status = "available again" if ticket.status == "available" else ticket.status
    return TicketError(TicketTaken.code, f"a buyer was faster: the ticket is {status}")
