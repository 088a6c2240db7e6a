"""The errors of auth.

Problem
├── Unauthorized 401 ── BadCredentials, SessionEnded, RefreshReused, AccountGone
├── Conflict 409 ────── EmailTaken, HandleTaken, TooManyHandles
├── Invalid 422 ─────── WeakPassword
├── TooMany 429 ─────── TooManyAttempts
└── Unavailable 503 ─── Busy
"""

from math import ceil
from uuid import UUID

from backend.kernel.problems import (
    Conflict,
    FieldError,
    Invalid,
    TooMany,
    Unauthorized,
    Unavailable,
)


class BadCredentials(Unauthorized):
    """The same for an unknown email and for a wrong password."""

    code = "bad_credentials"

    def __init__(self) -> None:
        super().__init__("wrong email or password", headers={"WWW-Authenticate": "Bearer"})


class WeakPassword(Invalid):
    """A guesser of common passwords, or of parts of the email, finds it early."""

    code = "weak_password"

    def __init__(self) -> None:
        message = "is too easy to guess; use several words that do not belong together"
        super().__init__(f"password {message}", errors=[FieldError("password", message)])


class SessionEnded(Unauthorized):
    """The refresh token is unknown or expired, or its session was signed out."""

    code = "session_ended"

    def __init__(self) -> None:
        super().__init__("sign in again", headers={"WWW-Authenticate": "Bearer"})


class RefreshReused(Unauthorized):
    """A used refresh token was presented: two parties hold the session, so it ends for both."""

    code = "refresh_reused"

    def __init__(self, user_id: UUID) -> None:
        self.user_id = user_id
        super().__init__(
            "this session was used from two places and has ended; sign in again",
            headers={"WWW-Authenticate": "Bearer"},
        )


class EmailTaken(Conflict):
    code = "email_taken"

    def __init__(self) -> None:
        super().__init__("an account with this email exists")


class HandleTaken(Conflict):
    """Another account has the handle or one that looks like it, or had it lately; or it is
    reserved for the shop.
    """

    code = "handle_taken"

    def __init__(self) -> None:
        super().__init__("this handle, or one that looks like it, is taken; choose another one")


class TooManyHandles(Conflict):
    """The account released as many handles as stay reserved for it."""

    code = "too_many_handles"

    def __init__(self) -> None:
        super().__init__(
            "you changed your handle five times in 90 days; take back a former one, or wait"
        )


class AccountGone(Unauthorized):
    """The account of a valid session was deleted."""

    code = "account_gone"

    def __init__(self) -> None:
        super().__init__("this account is gone; sign in again")


class TooManyAttempts(TooMany):
    code = "too_many_attempts"

    def __init__(self, wait_seconds: float) -> None:
        seconds = max(1, ceil(wait_seconds))
        wait = f"{seconds} s" if seconds < 120 else f"{ceil(seconds / 60)} minutes"
        super().__init__(
            f"too many attempts; try again in {wait}", headers={"Retry-After": str(seconds)}
        )


class Busy(Unavailable):
    code = "busy"

    def __init__(self) -> None:
        super().__init__(
            "too many people are signing in right now; try again in a moment",
            headers={"Retry-After": "2"},
        )
