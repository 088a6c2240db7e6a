"""Why a payment or a refund was refused. None of a payment's leaves money taken."""

from backend.kernel.problems import Conflict, Forbidden, Invalid, NotFound, Problem, Unavailable


class OrderNotFound(NotFound):
    code = "order_not_found"


class PaymentNotFound(NotFound):
    """No such payment, or somebody else's: the two answer alike."""

    code = "payment_not_found"


class OrderExpired(Conflict):
    """The hold ended before the payment won it. Nothing was charged."""

    code = "order_expired"


class OrderCancelled(Conflict):
    code = "order_cancelled"


class OrderAlreadyPaid(Conflict):
    code = "order_already_paid"


class PaymentInProgress(Conflict):
    code = "payment_in_progress"


class PaymentDeclined(Problem):
    """Stripe's refusal of the card: `code` is Stripe's, and so is `decline_code`."""

    status = 402
    code = "card_declined"


class PaymentMethodRefused(Invalid):
    """Stripe does not know the payment method, or can't charge this amount with it."""

    code = "payment_method_refused"


class WebhookRefused(Problem):
    status = 400
    code = "bad_signature"


class ProviderUnavailable(Unavailable):
    """Stripe did not answer; nothing was begun."""

    code = "payment_provider_unavailable"


class OrderNotRefundable(Conflict):
    """The order is not completed: no money was taken that could go back."""

    code = "order_not_refundable"


class OrderAlreadyRefunded(Conflict):
    code = "already_refunded"


class RefundInProgress(Conflict):
    code = "refund_in_progress"


class OrderHasOtherSellers(Conflict):
    """Some of the order's tickets are another seller's, who alone may take them back."""

    code = "order_has_other_sellers"


class RefundNotAllowed(Forbidden):
    """The buyer's time to ask for it is over, or there is none."""

    code = "refund_not_allowed"


class RelistNotAllowed(Forbidden):
    """Only the seller puts tickets on sale."""

    code = "relist_not_allowed"


class RefundRefused(Conflict):
    """Stripe will not return the money; `stripe_code` tells why. The order is as it was."""

    code = "refund_refused"
