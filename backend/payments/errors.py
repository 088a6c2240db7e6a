"""Why a payment was refused. None of these leaves money taken."""

from backend.kernel.problems import Conflict, Invalid, NotFound, Problem, Unavailable


class OrderNotFound(NotFound):
    code = "order_not_found"


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
