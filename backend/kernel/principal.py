"""The authenticated user of a request. Services verify access tokens with public keys; only auth
can sign them.

Verifying a signature costs more than the rest of a small request, so verified tokens are cached
until they expire, in a bounded table.

A request authenticates by its Bearer token or, without one, by its session cookie, never by both:
`bearer_token` is the only parser of the Authorization header.
"""

import re
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
from starlette.datastructures import Headers
from starlette.requests import Request

from backend.kernel.ended_sessions import EndedSessions
from backend.kernel.problems import Unauthorized

COOKIE_PREFIX = "gittix_"
SESSION_COOKIE = COOKIE_PREFIX + "session"
# The key of a request's scope that holds the id of its user, for the request log.
USER_ID = "gittix.user_id"
# The key of a request's scope that holds its principal, or None for a request without one.
PRINCIPAL = "gittix.principal"
ALGORITHM = "EdDSA"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068's media type for access tokens
MAX_CACHED_TOKENS = 20_000
MAX_TOKEN_LENGTH = 4096
# RFC 6750, 2.1: the scheme, one or more spaces, and a token.
_SCHEME = re.compile(r"bearer(?![^ \t])", re.IGNORECASE)
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
# A signed token in its only encoding. Decoders of base64 skip foreign characters, and ignore the
# last four bits of a signature's 86 characters: each token would have countless spellings, and
# each would take an entry of the cache.
_SIGNED = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{85}[AQgw]")
# Tokens are stamped with Postgres's clock and checked with this machine's.
CLOCK_SKEW_SECONDS = 5


class Principal(msgspec.Struct, frozen=True):
    """A signed-in user, from the claims of its access token."""

    user_id: UUID
    email: str
    # At the time of the token. It may have changed since.
    handle: str
    session_id: UUID
    # Unix time by Postgres's clock: when the token was issued, and when its session ends unless
    # it is refreshed.
    issued_at: int = 0
    session_until: int = 0


class TokenVerifier:
    """Verifies access tokens: algorithm and type are pinned; `kid`, issuer, audience and expiry
    are required. A token of an ended session is refused.
    """

    def __init__(
        self,
        public_keys: Iterable[Ed25519PublicKey],
        *,
        issuer: str,
        audience: str,
        ended_sessions: EndedSessions,
    ) -> None:
        self.ended_sessions = ended_sessions
        self._keys = {key_id(key): key for key in public_keys}
        self._issuer = issuer
        self._audience = audience
        self._cache: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    def __len__(self) -> int:
        """The number of cached tokens."""
        return len(self._cache)

    def verify(self, token: str) -> Principal | None:
        """The token's principal, or None for a token that is malformed, expired or not ours, or
        whose session has ended.
        """
        principal = self._verified(token)
        if principal is None or self.ended_sessions.refuses(
            principal.session_id, principal.issued_at
        ):
            return None
        return principal

    def _verified(self, token: str) -> Principal | None:
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
            UUID(claims["sub"]),
            claims["email"],
            claims["name"],
            UUID(claims["sid"]),
            claims["iat"],
            # Tokens of earlier versions lack it.
            claims.get("session_exp", claims["exp"]),
        )
        self._cache[token] = principal, float(claims["exp"]) + CLOCK_SKEW_SECONDS
        if len(self._cache) > MAX_CACHED_TOKENS:
            self._cache.popitem(last=False)
        return principal

    def _claims(self, token: str) -> dict[str, Any] | None:
        if len(token) > MAX_TOKEN_LENGTH or not _SIGNED.fullmatch(token):
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


def bearer_token(headers: Headers) -> str | None:
    """The token of the Bearer header, empty if the header is malformed, or None without one.

    Headers of other schemes are ignored: a proxy in front of the shop may require Basic. Two
    Bearer headers are malformed, since the caller and a proxy could each mean another one.
    """
    values = [value.strip(" \t") for value in headers.getlist("authorization")]
    bearers = [value for value in values if _SCHEME.match(value)]
    if not bearers:
        return None
    match = _BEARER.fullmatch(bearers[0]) if len(bearers) == 1 else None
    return match[1] if match else ""


def cookie(request: Request, name: str) -> str | None:
    """A cookie that authenticates, or None. Beside a Bearer header no cookie counts: such a
    request is exempt from the check of its origin.
    """
    return request.cookies.get(name) if bearer_token(request.headers) is None else None


def current(request: Request) -> Principal | None:
    """The request's principal from its Bearer token or session cookie, or None."""
    if PRINCIPAL not in request.scope:
        request.scope[PRINCIPAL] = _authenticate(request)
    principal: Principal | None = request.scope[PRINCIPAL]
    return principal


def require(request: Request) -> Principal:
    """The request's principal. Raises Unauthorized."""
    principal = current(request)
    if principal is None:
        raise unauthorized()
    return principal


def _authenticate(request: Request) -> Principal | None:
    token = bearer_token(request.headers)
    if token is None:
        token = request.cookies.get(SESSION_COOKIE)
    verifier: TokenVerifier = request.state.verifier
    principal = verifier.verify(token) if token else None
    if principal is not None:
        request.scope[USER_ID] = principal.user_id
    return principal


def unauthorized() -> Unauthorized:
    return Unauthorized("sign in first", headers={"WWW-Authenticate": "Bearer"})
