"""Who the people are. Where the instance's signing key is known a session is signed with it, as auth would: 2,000 sign-ups
cost Argon2 50 seconds of a core. Elsewhere, and where a scenario wants it, people sign up over the API.
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
            Signer(private_key, issuer="gittix", audience="gittix", access_seconds=SESSION_SECONDS)
            if private_key and not sign_up
            else None
        )

    @property
    def signed_here(self) -> bool:
        return self._signer is not None

    def session(self) -> Mapping[str, str]:
        """The header of a new person's requests."""
        assert self._signer
        person = User(uuid4(), f"{uuid4().hex}@load.example", "load")
        return {
            "Authorization": f"Bearer {self._signer.access_token(person, uuid4(), datetime.now(UTC))}"
        }

    def credentials(self) -> Credentials:
        return Credentials(f"{uuid4().hex}@load.example", uuid4().hex)
