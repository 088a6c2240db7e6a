"""The credentials of a session: short-lived access tokens, verified by any service with a public
key, and opaque refresh tokens, of which auth stores a digest.
"""

import secrets
from base64 import b64decode
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from backend.auth.model import User
from backend.kernel.principal import ALGORITHM, TOKEN_TYPE, key_id

REFRESH_TOKEN_BYTES = 32


class Signer:
    """Signs the access tokens that `kernel.principal.TokenVerifier` verifies."""

    def __init__(
        self,
        private_key: str,
        *,
        issuer: str,
        audience: str,
        access_seconds: int,
        session_seconds: int,
    ) -> None:
        """`private_key` is PEM (line ends may be escaped) or base64 of DER. Raises ValueError for
        anything else.
        """
        key = (
            load_pem_private_key(private_key.replace("\\n", "\n").encode(), password=None)
            if "-----" in private_key
            else load_der_private_key(b64decode(private_key, validate=True), password=None)
        )
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("not an Ed25519 private key")  # noqa: TRY004 - a bad value
        self._key = key
        self._issuer = issuer
        self._audience = audience
        self.access_seconds = access_seconds
        self._session_seconds = session_seconds
        self._header = {"typ": TOKEN_TYPE, "kid": key_id(self.public_key)}

    @property
    def public_key(self) -> Ed25519PublicKey:
        return self._key.public_key()

    def access_token(self, user: User, session_id: UUID, issued_at: datetime) -> str:
        """A signed token, valid for `access_seconds` from `issued_at`, a time of Postgres. The
        claim `session_exp` is the end of the session, unless it is refreshed. The claim `name` is
        the handle at the time of issue.
        """
        issued = int(issued_at.timestamp())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "iat": issued,
            "exp": issued + self.access_seconds,
            "sub": str(user.id),
            "sid": str(session_id),
            "session_exp": issued + self._session_seconds,
            "email": user.email,
            "name": user.handle,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers=self._header)


def generate_keys() -> tuple[str, str]:
    """A new key pair as (private, public) PEM, for the settings `JWT_PRIVATE_KEY` and
    `JWT_PUBLIC_KEYS`.
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def new_refresh_token() -> str:
    return secrets.token_urlsafe(REFRESH_TOKEN_BYTES)


def digest(refresh_token: str) -> bytes:
    """The stored digest of a refresh token. Its 256 random bits need no slow or salted hash."""
    return sha256(refresh_token.encode()).digest()
