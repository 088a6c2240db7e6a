"""The authenticated user of a request. Services verify access tokens with public keys; only auth
can sign them.

Verifying a signature costs more than the rest of a small request, so verified tokens are cached
until they expire, in a bounded table.
"""

import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import sha256
from typing import Any
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)
from starlette.requests import Request

from backend.kernel.problems import Unauthorized

COOKIE_PREFIX = "gittix_"
SESSION_COOKIE = COOKIE_PREFIX + "session"
# The key of a request's scope that holds the id of its user, for the request log.
USER_ID = "gittix.user_id"
ALGORITHM = "EdDSA"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068's media type for access tokens
MAX_CACHED_TOKENS = 20_000
MAX_TOKEN_LENGTH = 4096
# Tokens are stamped with Postgres's clock and checked with this machine's.
CLOCK_SKEW_SECONDS = 5


class Principal(msgspec.Struct, frozen=True):
    """A signed-in user, from the claims of its access token."""

    user_id: UUID
    email: str
    name: str
    session_id: UUID


class TokenVerifier:
    """Verifies access tokens: algorithm and type are pinned; `kid`, issuer, audience and expiry
    are required.
    """

    def __init__(
        self, public_keys: Iterable[Ed25519PublicKey], *, issuer: str, audience: str
    ) -> None:
        self._keys = {key_id(key): key for key in public_keys}
        self._issuer = issuer
        self._audience = audience
        self._cache: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    def verify(self, token: str) -> Principal | None:
        """The token's principal, or None for a token that is malformed, expired or not ours."""
        cached = self._cache.get(token)
        if cached is not None:
            principal, expires_at = cached
            if time.time() < expires_at:
                return principal
            del self._cache[token]
            return None
        claims = self._claims(token)
        if claims is None:
            return None
        principal = Principal(
            UUID(claims["sub"]), claims["email"], claims["name"], UUID(claims["sid"])
        )
        self._cache[token] = principal, float(claims["exp"]) + CLOCK_SKEW_SECONDS
        if len(self._cache) > MAX_CACHED_TOKENS:
            self._cache.popitem(last=False)
        return principal

    def _claims(self, token: str) -> dict[str, Any] | None:
        if len(token) > MAX_TOKEN_LENGTH:
            return None
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.get(header.get("kid", ""))
            if key is None or header.get("typ") != TOKEN_TYPE:
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": ["iss", "aud", "exp", "iat", "sub", "sid", "email", "name"]},
            )
        except jwt.PyJWTError:
            return None
        return claims


def load_public_keys(text: str) -> list[Ed25519PublicKey]:
    """One or more Ed25519 keys: PEM blocks, or base64 of DER separated by commas.

    Raises ValueError for anything else.
    """
    ending = "-----END PUBLIC KEY-----"
    if ending in text:
        blocks = [
            block + ending for block in text.replace("\\n", "\n").split(ending) if block.strip()
        ]
        keys = [load_pem_public_key(block.strip().encode()) for block in blocks]
    else:
        keys = [load_der_public_key(b64decode(key, validate=True)) for key in text.split(",")]
    for key in keys:
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("not an Ed25519 public key")  # noqa: TRY004 - a bad value
    return [key for key in keys if isinstance(key, Ed25519PublicKey)]


def key_id(key: Ed25519PublicKey) -> str:
    """A digest of the key, so that a rotation needs no agreement on key names."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()[
        :16
    ]


def current(request: Request) -> Principal | None:
    """The request's principal from its Bearer token or session cookie, or None."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        token = request.cookies.get(SESSION_COOKIE, "")
    elif scheme.lower() != "bearer":
        return None
    verifier: TokenVerifier = request.state.verifier
    principal = verifier.verify(token.strip()) if token else None
    if principal is not None:
        request.scope[USER_ID] = principal.user_id
    return principal


def require(request: Request) -> Principal:
    """The request's principal. Raises Unauthorized."""
    principal = current(request)
    if principal is None:
        raise Unauthorized("sign in first", headers={"WWW-Authenticate": "Bearer"})
    return principal
