"""The API's errors, with Stripe's texts (docs.stripe.com/api/errors).

ApiError
├── Unauthenticated   401  no key, or a wrong key
├── InvalidParams     400  malformed: execution never began, so no reply is stored for its key
├── Refused           400  the state of an object forbids the call
│   └── Missing       404  no such object (400 when a parameter names it)
├── Declined          402  the bank declined the card: the only error with effects that stay
├── KeyReused         400  another request used this idempotency key before
├── KeyInUse          409  the first request with this key still runs
├── Overloaded        429  too many requests are waiting
└── Broken            500  an error of the sandbox, or an injected fault
"""

from typing import Any, ClassVar


class ApiError(Exception):
    status: int = 400
    type: ClassVar[str] = "invalid_request_error"
    # Whether the reply is stored under the request's idempotency key.
    kept: ClassVar[bool] = False

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, **more: Any
    ) -> None:
        super().__init__(message)
        fields = {"code": code, "message": message, "param": param, "type": self.type, **more}
        self.error = {name: value for name, value in fields.items() if value is not None}
        if code:
            self.error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.error}


class Unauthenticated(ApiError):
    status = 401


class InvalidParams(ApiError):
    pass


class Refused(ApiError):
    kept = True


class Missing(Refused):
    status = 404

    def __init__(self, noun: str, id: str, *, param: str = "id", status: int = 404) -> None:
        # Stripe spells "No such PaymentMethod", but "No such payment_intent".
        shown = {"payment_method": "PaymentMethod"}.get(noun, noun)
        super().__init__(f"No such {shown}: '{id}'", code="resource_missing", param=param)
        self.status = status


class UnexpectedState(Refused):
    def __init__(self, message: str, intent: dict[str, Any]) -> None:
        super().__init__(message, code="payment_intent_unexpected_state", payment_intent=intent)


class Declined(ApiError):
    status = 402
    type = "card_error"
    kept = True


class KeyReused(ApiError):
    type = "idempotency_error"


class KeyInUse(ApiError):
    status = 409
    type = "idempotency_error"

    def __init__(self, key: str) -> None:
        super().__init__(
            "There is currently another in-progress request using this Idempotency Key (that "
            "probably means you submitted twice, and the other request is still going through): "
            f"{key}. Please try again later.",
            code="idempotency_key_in_use",
        )


class Overloaded(ApiError):
    status = 429

    def __init__(self) -> None:
        super().__init__("Request rate limit exceeded.", code="rate_limit")


class Broken(ApiError):
    status = 500
    type = "api_error"

    def __init__(self) -> None:
        super().__init__("An unknown error occurred")
