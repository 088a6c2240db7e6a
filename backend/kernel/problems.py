"""The errors of the API: exceptions that become RFC 9457 problem+json with a stable `code`.

    Problem
    ├── BadRequest 400, Unauthorized 401, Forbidden 403, NotFound 404
    ├── Conflict 409, PreconditionFailed 412, TooLarge 413, Invalid 422
    ├── TooMany 429
    └── Unavailable 503

Each service defines subclasses with their codes in its `errors.py`. Raising one rolls the
transaction back.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

PROBLEM_TYPE = "application/problem+json"
# The key of a request's scope that holds the code of its problem, for the request log.
PROBLEM_CODE = "gittix.problem_code"


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rejected input. `field` is its path, such as `tickets[0].price`, or empty for the whole
    body. `message` completes a sentence that begins with the field: "must be a UUID". `minimum`
    is the bound of an integer that is too small, `maximum` of one that is too large, and `step`
    divides the integers that are accepted.
    """

    field: str
    message: str
    minimum: int | None = None
    maximum: int | None = None
    step: int | None = None


class ProblemBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every 4xx and 5xx; a problem may have further members."""

    title: str
    status: int
    code: str
    type: str = "about:blank"
    detail: str | None = None
    errors: list[FieldError] | None = None


class Problem(Exception):
    """An error that is returned to the caller. `extra` members are added to the body as
    they are.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        errors: list[FieldError] | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail or type(self).__name__)
        self.detail = detail
        self.problem_code = code or self.code
        self.errors = errors
        self.headers = dict(headers or {})
        self.extra = extra

    def response(self) -> Response:
        title = HTTPStatus(self.status).phrase
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "code": self.problem_code,
        }
        if self.detail:
            body["detail"] = self.detail
        if self.errors:
            body["errors"] = self.errors
        return _ProblemResponse(
            self.problem_code, msgspec.json.encode(body | self.extra), self.status, self.headers
        )


class _ProblemResponse(Response):
    """A response that sets the problem's code in the scope of the request."""

    media_type = PROBLEM_TYPE

    def __init__(self, code: str, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(body, status, headers)
        self._code = code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[PROBLEM_CODE] = self._code
        await super().__call__(scope, receive, send)


class BadRequest(Problem):
    status = 400
    code = "bad_request"


class Unauthorized(Problem):
    status = 401
    code = "unauthorized"


class Forbidden(Problem):
    status = 403
    code = "forbidden"


class NotFound(Problem):
    status = 404
    code = "not_found"


class Conflict(Problem):
    status = 409
    code = "conflict"


class PreconditionFailed(Problem):
    status = 412
    code = "version_mismatch"


class TooLarge(Problem):
    status = 413
    code = "body_too_large"


class Invalid(Problem):
    status = 422
    code = "invalid_input"


class TooMany(Problem):
    status = 429
    code = "too_many_requests"


class Unavailable(Problem):
    status = 503
    code = "temporarily_unavailable"


def invalid(field: str, message: str) -> Invalid:
    """The error for one field of the input. `message` is a predicate: "must not be empty"."""
    return invalid_field(FieldError(field, message))


def invalid_field(error: FieldError) -> Invalid:
    return Invalid(f"{error.field or 'the body'} {error.message}", errors=[error])
