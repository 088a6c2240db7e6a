"""The structs of auth: request bodies, replies, event data and rows."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

MAX_EMAIL_LENGTH = 254
MAX_NAME_LENGTH = 80

Email = Annotated[str, msgspec.Meta(max_length=MAX_EMAIL_LENGTH, examples=["ada@example.com"])]
NewPassword = Annotated[str, msgspec.Meta(min_length=8, max_length=200)]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class SignUp(msgspec.Struct, frozen=True):
    """A new account. `name` is the email's local part unless given."""

    email: Email
    password: NewPassword
    name: str | None = None


class SignIn(msgspec.Struct, frozen=True):
    """The credentials of an account."""

    email: Email
    password: Password


class SignOut(msgspec.Struct, frozen=True):
    """`everywhere` ends every session of the user."""

    everywhere: bool = False


class User(msgspec.Struct, frozen=True):
    """The signed-in user, as the API returns it."""

    id: UUID
    email: str
    name: str


class CurrentUser(msgspec.Struct, frozen=True):
    """`current_user` is null when nobody is signed in."""

    current_user: User | None


class Registered(msgspec.Struct, frozen=True):
    """The data of `user.registered`.

    It has no email: no consumer needs it, and copies of an event cannot be erased.
    """

    id: UUID
    name: str
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
