"""The accounts of the simulated users.

With the instance's signing key, sessions are signed here as auth does, since Argon2 needs 50 s of a
core for 2,000 sign-ups. Without the key, or when a scenario requires it, users sign up over HTTP.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import uuid4

import msgspec

from backend.auth.model import User
from backend.auth.tokens import Signer

SESSION_SECONDS = 6 * 3600


class Credentials(msgspec.Struct, frozen=True):
    email: str
    password: str


class Accounts:
    def __init__(self, private_key: str, *, sign_up: bool) -> None:
        self._signer = (
            Signer(
                private_key,
                issuer="gittix",
                audience="gittix",
                access_seconds=SESSION_SECONDS,
                session_seconds=SESSION_SECONDS,
            )
            if private_key and not sign_up
            else None
        )

    @property
    def signs_locally(self) -> bool:
        return self._signer is not None

    def session(self) -> Mapping[str, str]:
        """Return the headers of a new user's requests."""
        assert self._signer
        user = User(uuid4(), f"{uuid4().hex}@load.example", "load", needs_more_time=False)
        token = self._signer.access_token(user, uuid4(), datetime.now(UTC))
        return {"Authorization": f"Bearer {token}"}

    def credentials(self) -> Credentials:
        return Credentials(f"{uuid4().hex}@load.example", uuid4().hex)
