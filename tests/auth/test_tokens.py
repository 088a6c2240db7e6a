"""Access tokens: every service accepts those that auth signed, and no others."""

import base64
import hashlib
import hmac
import json
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from backend.auth import app, tokens
from backend.auth.model import User
from backend.auth.tokens import Signer
from backend.kernel.ended_sessions import EndedSessions
from backend.kernel.principal import (
    CLOCK_SKEW_SECONDS,
    MAX_TOKEN_LENGTH,
    TokenVerifier,
    load_public_keys,
)
from backend.kernel.settings import Settings, SettingsError
from tests.auth.conftest import Browse, signed_in_user, signed_up
from tests.replies import code

PRIVATE, PUBLIC = tokens.generate_keys()
TOO_OLD_SECONDS = 300 + CLOCK_SKEW_SECONDS + 1
USER = User(UUID(int=1), "ada@example.com", "Ada", needs_more_time=False)

Header = dict[str, Any]
Claims = dict[str, Any]


def signer(private: str = PRIVATE, *, issuer: str = "gittix", audience: str = "gittix") -> Signer:
    return Signer(
        private, issuer=issuer, audience=audience, access_seconds=300, session_seconds=86_400
    )


def verifier(*publics: str) -> TokenVerifier:
    keys = load_public_keys("".join(publics or (PUBLIC,)))
    ended_sessions = EndedSessions("postgres://unread", access_seconds=300)
    return TokenVerifier(keys, issuer="gittix", audience="gittix", ended_sessions=ended_sessions)


def token(by: Signer | None = None, *, age: timedelta = timedelta()) -> str:
    return (by or signer()).access_token(USER, UUID(int=2), datetime.now(UTC) - age)


def forged(private: str = PRIVATE, *, header: Header | None = None, **changes: Any) -> str:
    """A token signed with the real key and with changed claims; None removes a claim."""
    genuine = token()
    claims: Claims = jwt.decode(genuine, options={"verify_signature": False}) | changes
    key = load_pem_private_key(private.encode(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not None},
        key,
        algorithm="EdDSA",
        headers=jwt.get_unverified_header(genuine) | (header or {}),
    )


def handmade(header: Header, signature: Callable[[bytes], bytes]) -> str:
    """A token encoded by hand, since a library would refuse to."""
    genuine = token().split(".")
    changed = jwt.get_unverified_header(".".join(genuine)) | header
    start = f"{_part(json.dumps(changed).encode())}.{genuine[1]}"
    return f"{start}.{_part(signature(start.encode()))}"


def _part(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def test_a_signed_token_yields_its_principal() -> None:
    principal = verifier().verify(token())
    assert principal is not None
    assert (principal.user_id, principal.email, principal.handle, principal.session_id) == (
        USER.id,
        USER.email,
        USER.handle,
        UUID(int=2),
    )


FORGERIES: dict[str, Callable[[], str]] = {
    "no algorithm": lambda: handmade({"alg": "none"}, lambda _: b""),
    "no algorithm, signature kept": lambda: handmade({"alg": "none"}, lambda _: b"x" * 64),
    "HS256 with the public key as its secret": lambda: handmade(
        {"alg": "HS256"}, lambda start: hmac.digest(PUBLIC.encode(), start, hashlib.sha256)
    ),
    "another key under our kid": lambda: forged(tokens.generate_keys()[0]),
    "another key under its own kid": lambda: token(signer(tokens.generate_keys()[0])),
    "unknown kid": lambda: forged(header={"kid": "f" * 16}),
    "kid that is no text": lambda: handmade({"kid": 7}, lambda _: b"x" * 64),
    "wrong type": lambda: forged(header={"typ": "JWT"}),
    "unknown critical header": lambda: forged(header={"crit": ["b64"], "b64": False}),
    "wrong audience": lambda: forged(aud="elsewhere"),
    "wrong issuer": lambda: forged(iss="elsewhere"),
    "no audience": lambda: forged(aud=None),
    "no issuer": lambda: forged(iss=None),
    "no expiry": lambda: forged(exp=None),
    "no session": lambda: forged(sid=None),
    "no subject": lambda: forged(sub=None),
    "expired": lambda: token(age=timedelta(seconds=TOO_OLD_SECONDS)),
    "changed claims": lambda: ".".join(
        [token().split(".")[0], _part(b'{"sub":"x"}'), token().split(".")[2]]
    ),
    "cut short": lambda: token()[:-4],
    "too long": lambda: forged(name="x" * MAX_TOKEN_LENGTH),
    "deeply nested": lambda: f"{_part(b'[' * 2900)}.e30.AA",
    "garbage": lambda: "a.b.c",
    "no dots": lambda: "garbage",
    "not ASCII": lambda: "\u00fc.\u00fc.\u00fc",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_token_has_no_principal(name: str) -> None:
    assert verifier().verify(FORGERIES[name]()) is None


def test_a_cached_token_still_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    checker, genuine = verifier(), token()
    assert checker.verify(genuine) is not None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 299)
    assert checker.verify(genuine) is not None
    monkeypatch.setattr(time, "time", lambda: now + TOO_OLD_SECONDS)
    assert checker.verify(genuine) is None


def test_a_cached_token_has_the_same_clock_skew_as_a_new_one() -> None:
    checker, genuine = verifier(), token(age=timedelta(seconds=302))
    assert [checker.verify(genuine) is not None for _ in range(3)] == [True] * 3


def test_keys_rotate_without_signing_anyone_out() -> None:
    newer_private, newer_public = tokens.generate_keys()
    both = verifier(PUBLIC, newer_public)
    assert both.verify(token()) is not None
    assert both.verify(token(signer(newer_private))) is not None
    assert verifier(newer_public).verify(token()) is None


@pytest.mark.parametrize(
    "name", ["no algorithm", "expired", "too long", "garbage", "another key under our kid"]
)
async def test_a_forged_token_is_unauthorized_over_http(name: str, browse: Browse) -> None:
    bad = FORGERIES[name]()
    by_header, by_cookie = browse(), browse()
    by_header.headers["Authorization"] = f"Bearer {bad}"
    by_cookie.cookies.set("gittix_session", bad)
    for client in (by_header, by_cookie):
        assert await signed_in_user(client) is None
        assert code(await client.post("/api/users/signout?everywhere=true")) == (
            401,
            "unauthorized",
        )


@pytest.mark.parametrize("authorization", ["Bearer", "bearer", "Bearer\tx", "Bearer a.b.c"])
async def test_a_cookie_is_ignored_beside_a_bearer_header(
    authorization: str, browser: httpx.AsyncClient
) -> None:
    await signed_up(browser)
    browser.headers["Authorization"] = authorization
    assert await signed_in_user(browser) is None


@pytest.mark.parametrize("authorization", ["Basic YTpi", "x", ""])
async def test_another_scheme_beside_the_cookie_is_no_sign_out(
    authorization: str, browser: httpx.AsyncClient
) -> None:
    user_id = await signed_up(browser)
    browser.headers["Authorization"] = authorization
    assert await signed_in_user(browser) == str(user_id)
    assert (await browser.post("/api/users/refresh")).status_code == 200


async def test_no_cookie_counts_beside_a_bearer_token(browse: Browse) -> None:
    browser, other = browse(), browse()
    user_id, other_id = await signed_up(browser), await signed_up(other)
    cookies = dict(browser.cookies)
    bearer = {
        "Authorization": f"Bearer {other.cookies['gittix_session']}",
        "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
    }
    async with httpx.AsyncClient(base_url=browser.base_url, headers=bearer) as both:
        assert await signed_in_user(both) == str(other_id)
        assert code(await both.post("/api/users/refresh")) == (401, "session_ended")
        assert (await both.post("/api/users/signout")).status_code == 204
    assert code(await other.post("/api/users/refresh")) == (401, "session_ended")
    assert await signed_in_user(browser) == str(user_id)
    assert (await browser.post("/api/users/refresh")).status_code == 200


def test_a_token_has_one_spelling() -> None:
    genuine, checker = token(), verifier()
    start, _, signature = genuine.rpartition(".")
    spellings = [
        *(f"{start}.{signature[:-1]}{last}" for last in string.ascii_letters + string.digits),
        *(f"{start}.{signature[:9]}{other}{signature[9:]}" for other in "~.+/=!$ \n\u00e4"),
        *(genuine + other for other in ("=", "==", ".", "\n", "A")),
    ]
    accepted = {spelling for spelling in spellings if checker.verify(spelling) is not None}
    assert accepted == {genuine}
    assert len(checker) == 1


def test_a_private_key_without_its_public_key_is_refused_at_start(settings: Settings) -> None:
    stranger = msgspec.structs.replace(settings, jwt_public_keys=tokens.generate_keys()[1])
    with pytest.raises(SettingsError, match="JWT_PUBLIC_KEYS"):
        app.component(stranger)


@pytest.mark.parametrize("pem", ["", "nonsense", PUBLIC])
def test_a_malformed_key_is_refused_at_start_without_its_value(
    pem: str, settings: Settings
) -> None:
    with pytest.raises(SettingsError, match="JWT_PRIVATE_KEY") as refused:
        app.component(msgspec.structs.replace(settings, jwt_private_key=pem))
    assert "BEGIN" not in str(refused.value)


def test_refresh_tokens_have_256_bits_and_differ() -> None:
    made = {tokens.new_refresh_token() for _ in range(100)}
    assert len(made) == 100
    assert all(len(base64.urlsafe_b64decode(each + "=")) == 32 for each in made)
    assert str(uuid4()) not in made
