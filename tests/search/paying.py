"""The model of one payment: the effect of each card at Stripe, and of each call without a reply."""

from typing import NamedTuple

from tests.search.entities import EXPIRED, Attempt, Order, Refusal
from tests.search.model import Model
from tests.search.refunds import DISPUTED, FAILS_LATER, WAITS

# The effect of a payment method on the intent that is confirmed with it.
METHODS = {
    "pm_card_visa": "requires_capture",
    WAITS: "requires_capture",
    FAILS_LATER: "requires_capture",
    DISPUTED: "requires_capture",
    "pm_card_chargeDeclined": "requires_payment_method",
    "pm_card_authenticationRequired": "requires_action",
}
REFUSED_METHODS = {
    "pm_card_chargeDeclined": Refusal(402, "card_declined"),
    "pm_of_nobody": Refusal(422, "payment_method_refused"),
}
OUTCOMES = {"voided": EXPIRED}
# The calls of a payment to Stripe, and a part of the request line of each.
CALLS = {
    "create": "POST /v1/payment_intents",
    "confirm": "/confirm",
    "capture": "/capture",
    "cancel": "/cancel",
}


class Fault(NamedTuple):
    """Makes Stripe answer a call of a payment with 500, `before` its effect or `after` it."""

    call: str
    when: str


class Paying:
    """The model of one payment, which other requests may interrupt."""

    def __init__(self, model: Model, order: Order, method: str) -> None:
        self.fault: Fault | None = None
        self._model = model
        self._order = order
        self._method = method
        self._attempt = Attempt()
        self._confirmed = False

    def begin(self) -> None:
        self._attempt = self._model.begin(self._order)

    def go_to(self, pause: str | None) -> None:
        self._order.intent = self._order.intent or "requires_payment_method"
        if pause == "capture":
            self._confirm()
            assert self._model.settle(self._order, self._attempt)

    def end(self) -> tuple[int, str]:
        """Apply the remaining steps. Returns the expected reply."""
        order, attempt = self._order, self._attempt
        if order.intent is None and self._fails("create"):
            attempt.status = "failed"
            return 503, "payment_provider_unavailable"
        order.intent = order.intent or "requires_payment_method"
        if not self._confirmed:
            if self._fails("confirm", "before"):
                return 201, "started"
            self._confirm()
            if self._fails("confirm", "after"):
                return 201, "started"
        if self._method in REFUSED_METHODS:
            attempt.status = "failed"
            return REFUSED_METHODS[self._method]
        if order.intent == "requires_action":
            attempt.status = "requires_action"
        elif attempt.status not in {"captured", "voided"}:
            self._take()
        return OUTCOMES.get(attempt.status) or (201, attempt.status)

    def _confirm(self) -> None:
        """Apply the effect of the payment method at Stripe."""
        self._confirmed = True
        if self._method in METHODS:
            self._order.intent, self._order.card = METHODS[self._method], self._method

    def _take(self) -> None:
        order, attempt = self._order, self._attempt
        if order.intent == "canceled":
            self._model.void(order, attempt)
        elif self._model.settle(order, attempt):
            if not self._fails("capture", "before"):
                order.intent = "succeeded"
            if not self._fails("capture"):
                self._model.finish(order, attempt)
        elif not self._fails("cancel"):
            self._model.void(order, attempt)
        elif self._fails("cancel", "after"):
            order.intent = "canceled"

    def _fails(self, call: str, when: str | None = None) -> bool:
        return (
            self.fault is not None and self.fault.call == call and when in {None, self.fault.when}
        )
