"""The model of refunds: permission, the effect at Stripe and the bank, order and tickets."""

from tests.search.entities import (
    NO_ORDER,
    OPEN_REFUND,
    PAID,
    Answer,
    Order,
    Refund,
    Refusal,
    Return,
    where,
)

# Test cards with a refund that does not succeed at once.
WAITS, FAILS_LATER, DISPUTED = (
    "pm_card_pendingRefund",
    "pm_card_refundFail",
    "pm_card_createDispute",
)


def against(person: str, order: Order, *, relist: bool) -> set[Refusal]:
    sellers = {ticket.seller for ticket in order.prices}
    if person not in {order.buyer, *sellers}:
        return {NO_ORDER}
    is_buyer = person == order.buyer
    if not is_buyer and sellers != {person}:
        return {Refusal(409, "order_has_other_sellers")}
    if order.is_owed:
        return set()
    return where(
        {
            Refusal(409, "already_refunded"): order.status == "refunded",
            Refusal(409, "refund_in_progress"): order.status == "refund_pending",
            Refusal(409, "order_not_refundable"): order.status not in PAID,
            Refusal(403, "relist_not_allowed"): is_buyer and relist,
            Refusal(403, "refund_not_allowed"): is_buyer and not order.is_in_refund_window,
        }
    )


def begin(order: Order, *, relist: bool) -> Refund:
    refund = Refund(relist)
    order.refunds.append(refund)
    if order.status == "completed":
        order.move("refund_pending")
    return refund


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
        by_hand = order.returned_by
        answer = Answer(by_hand, by_hand.status) if by_hand else Answer(None, "failed")
    _record(order, refund, answer)


def at_stripe(order: Order, asked_by: Refund | None) -> Answer:
    """Apply a request at Stripe. Without a refund of the shop, it was made by hand."""
    if order.returned_by is not None:
        return Answer(None, "charge_already_refunded")
    if order.card == DISPUTED:
        return Answer(None, "failed")
    made = Return(asked_by, "pending" if order.card == WAITS else "succeeded")
    order.returns.append(made)
    return Answer(made, made.status)


def may_settle(order: Order, *, succeed: bool) -> bool:
    """Whether the bank may decide so now."""
    status = order.returns[-1].status if order.returns else None
    return status == "pending" or (
        status == "succeeded" and order.card == FAILS_LATER and not succeed
    )


def settle(order: Order, *, succeed: bool) -> None:
    order.returns[-1].status = "succeeded" if succeed else "failed"


def adopt(order: Order) -> None:
    """Handle Stripe's message of a refund. An unknown one counts as requested by the buyer."""
    if order.is_returned_unnoticed:
        resume(order, begin(order, relist=False))


def _record(order: Order, refund: Refund, answer: Answer) -> None:
    waits = order.status == "refund_pending" and order.refunds[-1] is refund
    match answer.status:
        case "succeeded" if refund.status in OPEN_REFUND:
            if waits:
                for ticket in order.tickets_in("sold"):
                    ticket.move("available" if refund.relist else "withdrawn", None)
                order.move("refunded")
            for attempt in order.attempts:
                if attempt.status == "captured":
                    attempt.status = "refunded"
            refund.move("succeeded", answer.returned)
        case "failed" if refund.status != "failed":
            if waits:
                order.move("completed")
            refund.move("failed", answer.returned)
        case "pending" if refund.status == "requested":
            refund.move("pending", answer.returned)
