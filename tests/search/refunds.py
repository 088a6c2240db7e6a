"""The model of refunds: permission, the effect at Stripe and the bank, order and tickets."""

from collections.abc import Sequence

from tests.search.entities import (
    GIVEN,
    NO_ORDER,
    OPEN_REFUND,
    PAID,
    Answer,
    Order,
    Refund,
    Refusal,
    Return,
    Ticket,
    where,
)

# Test cards with a refund that does not succeed at once.
WAITS, FAILS_LATER, DISPUTED = (
    "pm_card_pendingRefund",
    "pm_card_refundFail",
    "pm_card_createDispute",
)


NO_LINE = Refusal(404, "order_line_not_found")
ALREADY = Refusal(409, "already_refunded")
UNDER_WAY = Refusal(409, "refund_in_progress")


def against(
    person: str, order: Order, *, relist: bool, tickets: Sequence[Ticket] | None = None
) -> set[Refusal]:
    """The refusals of a refund of these lines, or of all that the person may refund."""
    own = _lines_of(person, order)
    if not own:
        return {NO_ORDER}
    if order.status not in PAID:
        return {Refusal(409, "order_not_refundable")}
    if tickets is not None and not set(tickets) <= set(own):
        return {NO_LINE}
    asked = own if tickets is None else list(tickets)
    if tickets is None and order.lines_in("sold", asked):
        asked = order.lines_in("sold", asked)
    owed, pending = order.lines_in("owed", asked), order.lines_in("refund_pending", asked)
    if tickets is not None and order.lines_in("refunded", asked):
        return {ALREADY}
    if pending:
        return {UNDER_WAY}
    if owed:
        return set() if owed == asked or tickets is None else {ALREADY}
    is_buyer = person == order.buyer
    return where(
        {
            ALREADY: not order.lines_in("sold", asked),
            Refusal(403, "relist_not_allowed"): is_buyer and relist,
            Refusal(403, "refund_not_allowed"): is_buyer and not order.is_in_refund_window,
        }
    )


def begin(
    person: str, order: Order, *, relist: bool, tickets: Sequence[Ticket] | None = None
) -> Refund:
    asked = _lines_of(person, order) if tickets is None else list(tickets)
    chosen = order.lines_in("sold", asked)
    if chosen:
        order.lines.update(dict.fromkeys(chosen, "refund_pending"))
        order.follow_lines()
    chosen = chosen or order.lines_in("owed", asked)
    refund = Refund(relist, chosen, order.cost(chosen), by_seller=person != order.buyer)
    order.refunds.append(refund)
    order.refunded_by.update(dict.fromkeys(chosen, refund))
    return refund


def _lines_of(person: str, order: Order) -> list[Ticket]:
    """The tickets whose lines the person may refund."""
    return [t for t in order.prices if person in {order.buyer, t.seller}]


def resume(order: Order, refund: Refund) -> None:
    """Continue the refund from its state at Stripe."""
    if refund.status == "failed":
        return
    found = refund.at_stripe or next(
        (each for each in order.returns if each.asked_by is refund), None
    )
    if found is None:
        ask(order, refund)
    else:
        _record(order, refund, Answer(found, found.status))


def ask(order: Order, refund: Refund) -> None:
    """Request the refund under its idempotency key: Stripe repeats its first reply."""
    if refund.answer is None:
        refund.answer = at_stripe(order, refund)
    answer = refund.answer
    if answer.status == "charge_already_refunded":
        by_hand = [each for each in order.returns if each.asked_by is None]
        found = next((each for each in reversed(by_hand) if each.status in GIVEN), None)
        answer = (
            Answer(found, found.status)
            if found and order.adoptable >= refund.amount
            else Answer(None, "failed")
        )
    _record(order, refund, answer)


def at_stripe(order: Order, asked_by: Refund | None) -> Answer:
    """Apply a request at Stripe. Without a refund of the shop, the rest is returned by hand."""
    if order.unreturned == 0:
        return Answer(None, "charge_already_refunded")
    amount = asked_by.amount if asked_by else order.unreturned
    if order.card == DISPUTED or amount > order.unreturned:
        return Answer(None, "failed")
    made = Return(asked_by, amount, "pending" if order.card == WAITS else "succeeded")
    order.returns.append(made)
    return Answer(made, made.status)


def settleable(order: Order, *, succeed: bool) -> list[Return]:
    """The returns of which the bank may decide so now, newest first."""
    fails_later = order.card == FAILS_LATER and not succeed
    return [
        each
        for each in reversed(order.returns)
        if each.status == "pending" or (each.status == "succeeded" and fails_later)
    ]


def adopt(order: Order) -> None:
    """Handle Stripe's message of a refund. An unknown one counts as requested by the buyer."""
    if order.is_returned_unnoticed and (
        order.lines_in("sold") or (not order.lines_in("refund_pending") and order.is_owed)
    ):
        resume(order, begin(order.buyer, order, relist=False))


def _record(order: Order, refund: Refund, answer: Answer) -> None:
    waiting = [
        ticket for ticket in order.lines_in("refund_pending") if order.refunded_by[ticket] is refund
    ]
    match answer.status:
        case "succeeded" if refund.status in OPEN_REFUND:
            for ticket in waiting:
                assert ticket.order is order
                if refund.by_seller:
                    ticket.price_cap = ticket.price
                ticket.move("available" if refund.relist else "withdrawn", None)
                order.lines[ticket] = "refunded"
            if waiting:
                order.follow_lines()
            refund.move("succeeded", answer.returned)
            returned = sum(each.amount for each in order.refunds if each.status == "succeeded")
            for attempt in order.attempts:
                if attempt.status == "captured" and returned >= order.total:
                    attempt.status = "refunded"
        case "failed" if refund.status != "failed":
            for ticket in order.prices:
                if order.refunded_by[ticket] is refund:
                    order.refunded_by[ticket] = None
            order.lines.update(dict.fromkeys(waiting, "sold"))
            if waiting:
                order.follow_lines()
            refund.move("failed", answer.returned)
        case "pending" if refund.status == "requested":
            refund.move("pending", answer.returned)
