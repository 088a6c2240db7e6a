"""The structs of auth: request bodies, replies, event data and rows."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

MAX_EMAIL_LENGTH = 254

Email = Annotated[str, msgspec.Meta(max_length=MAX_EMAIL_LENGTH, examples=["ada@example.com"])]
Handle = Annotated[
    str,
    msgspec.Meta(
        max_length=24,
        description="3 to 24 of a-z, 0-9 and, between them, single . _ or -; capitals are lowered",
        examples=["quiet-otter-4821"],
    ),
]
NewPassword = Annotated[str, msgspec.Meta(min_length=8, max_length=200)]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class SignUp(msgspec.Struct, frozen=True):
    """A new account. `handle` is generated unless given."""

    email: Email
    password: NewPassword
    handle: Handle | None = None


class SignIn(msgspec.Struct, frozen=True):
    """The credentials of an account."""

    email: Email
    password: Password


class SignOut(msgspec.Struct, frozen=True):
    """`everywhere` ends every session of the user."""

    everywhere: bool = False


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of the signed-in user: at least one of the fields."""

    handle: Handle | None = None
    needs_more_time: bool | None = None


class User(msgspec.Struct, frozen=True):
    """The signed-in user, as the API returns it. Others see the handle only."""

    id: UUID
    email: str
    handle: str
    # Whether the user may extend each of its unpaid holds once.
    needs_more_time: bool


class CurrentUser(msgspec.Struct, frozen=True):
    """`current_user` is null when nobody is signed in."""

    current_user: User | None


class PublicUser(msgspec.Struct, frozen=True):
    """The data of `user.registered` and `user.updated`.

    It has no email: no consumer needs it, and copies of an event cannot be erased.
    """

    id: UUID
    handle: str
    created_at: datetime


class Account(msgspec.Struct, frozen=True):
    """A user with its password hash."""

    user: User
    password_hash: str
    version: int
    created_at: datetime


class Session(msgspec.Struct, frozen=True):
    """A session, its row locked by the current transaction."""

    id: UUID
    user: User
    revoked: bool


class TokenState(msgspec.Struct, frozen=True):
    """The state of a presented refresh token at the current time of Postgres."""

    expired: bool
    used: bool
    in_reuse_interval: bool


class Issued(msgspec.Struct, frozen=True):
    """The newest credentials of a session. Only this struct and the caller's cookie hold the
    refresh token in clear.
    """

    user: User
    session_id: UUID
    refresh_token: str
    issued_at: datetime
