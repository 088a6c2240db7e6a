"""The refusals of payments and refunds. After the refusal of a payment, no money is captured."""

from backend.kernel.problems import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    TooMany,
    Unavailable,
)


class OrderNotFound(NotFound):
    code = "order_not_found"


class PaymentNotFound(NotFound):
    """No such payment, or another user's: the response is the same."""

    code = "payment_not_found"


class OrderExpired(Conflict):
    """The hold ended before the payment won the order. Nothing was charged."""

    code = "order_expired"


class SalesEnded(Conflict):
    """`sales_end_at` of a show has passed, or a show is postponed or cancelled, so no payment
    begins. Nothing was charged.
    """

    code = "sales_ended"


class ShowChanged(Conflict):
    """A show has another place or time than the buyer was shown. `shows` has the present ones by
    their ids. Nothing was charged.
    """

    code = "show_changed"


class OrderCancelled(Conflict):
    code = "order_cancelled"


class OrderAlreadyPaid(Conflict):
    code = "order_already_paid"


class PaymentInProgress(Conflict):
    code = "payment_in_progress"


class NoAttemptsLeft(Conflict):
    """As many payments of this order failed as are allowed. Its hold ends at its time."""

    code = "no_attempts_left"


class TooManyDeclines(TooMany):
    """Too many cards were declined for this account, or its network, within an hour. `limited`
    names the one that must wait until `retry_at`.
    """

    code = "too_many_declines"


class PaymentDeclined(Problem):
    """The card was not authorised; `reason` is one of `model.Reason`."""

    status = 402
    code = "card_declined"


class PaymentMethodRefused(Invalid):
    """Stripe has no such payment method, or cannot charge this amount with it."""

    code = "payment_method_refused"


class WebhookRefused(Problem):
    status = 400
    code = "bad_signature"


class ProviderUnavailable(Unavailable):
    """Stripe did not answer, and no charge was attempted."""

    code = "payment_provider_unavailable"


class OrderNotRefundable(Conflict):
    """The order is not completed: no money was captured."""

    code = "order_not_refundable"


class OrderAlreadyRefunded(Conflict):
    """The order, or one of the chosen tickets, is refunded."""

    code = "already_refunded"


class RefundInProgress(Conflict):
    """Another refund of one of the tickets is under way."""

    code = "refund_in_progress"


class LineNotFound(NotFound):
    """The order has no such ticket, or it is another seller's: the response is the same."""

    code = "order_line_not_found"


class RefundNotAllowed(Forbidden):
    """The refund window of the buyer is over, or its length is zero."""

    code = "refund_not_allowed"


class RelistNotAllowed(Forbidden):
    """Only the seller may put the tickets on sale again."""

    code = "relist_not_allowed"


class RefundRefused(Conflict):
    """Stripe refused to return the money; `stripe_code` is its reason. The tickets are sold."""

    code = "refund_refused"
