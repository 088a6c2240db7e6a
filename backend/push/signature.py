"""The HMAC-SHA256 signatures of the Pusher protocol: the signed texts, and verification in constant
time.

`channel_data` and `user_data` are signed as the raw strings of the request: they must be verified
before they are parsed or encoded again.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from typing import Final, NamedTuple
from uuid import UUID

# A client subscribes with its signature at once.
SESSION_SIGNATURE_SECONDS: Final = 60

_SESSION_TOKEN = re.compile(r"([0-9a-f]{32})\.([0-9]{1,11})\.([0-9]{1,11})", re.ASCII)


class SessionAuthorization(NamedTuple):
    """The session that a signature names. Times are Unix time in seconds: the end of the
    signature's validity, and the end of the session unless it is refreshed.
    """

    session_id: UUID
    use_by: int
    session_until: int

    @property
    def issued_at(self) -> int:
        return self.use_by - SESSION_SIGNATURE_SECONDS


def sign(secret: str, text: str) -> str:
    # OpenSSL's one-shot `hmac.digest` takes twice as long.
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def verify(secret: str, text: str, signature: str) -> bool:
    # Compare bytes: compare_digest raises on non-ASCII strings, and a client can send any string as
    # signature.
    return hmac.compare_digest(
        sign(secret, text).encode(), signature.encode("utf-8", "surrogatepass")
    )


def verify_token(key: str, secret: str, text: str, token: str) -> bool:
    """Return whether `token`, as "key:signature", is this app's signature of `text`."""
    named, _, signature = token.partition(":")
    known = hmac.compare_digest(named.encode("utf-8", "surrogatepass"), key.encode())
    return verify(secret, text, signature) and known


def sign_for_session(
    key: str, secret: str, text: str, *, session_id: UUID, session_until: int
) -> str:
    """Return a token of ours, as "key:session.use_by.session_until:signature".

    No text of Pusher's protocol begins like the signed text, so no other signature fits.
    """
    use_by = int(time.time()) + SESSION_SIGNATURE_SECONDS
    session = f"{session_id.hex}.{use_by}.{session_until}"
    return f"{key}:{session}:{sign(secret, _session_text(session, text))}"


def verify_for_session(key: str, secret: str, text: str, token: str) -> SessionAuthorization | None:
    """Return what `token` authorizes if it is a token of ours for `text`, expired or not."""
    named, _, rest = token.partition(":")
    session, _, signature = rest.partition(":")
    found = _SESSION_TOKEN.fullmatch(session)
    if found is None or not verify_token(
        key, secret, _session_text(session, text), f"{named}:{signature}"
    ):
        return None
    return SessionAuthorization(UUID(found[1]), int(found[2]), int(found[3]))


def _session_text(session: str, text: str) -> str:
    return f"session:{session}:{text}"


def channel_text(socket_id: str, channel: str, channel_data: str | None = None) -> str:
    """Return the signed text of a subscription to a private or presence channel."""
    return (
        f"{socket_id}:{channel}"
        if channel_data is None
        else f"{socket_id}:{channel}:{channel_data}"
    )


def signin_text(socket_id: str, user_data: str) -> str:
    return f"{socket_id}::user::{user_data}"


def request_text(method: str, path: str, query: Iterable[tuple[str, str]]) -> str:
    """Return the signed text of an API request: all other parameters, sorted and unescaped."""
    pairs = sorted((key.lower(), value) for key, value in query if key.lower() != "auth_signature")
    return f"{method}\n{path}\n" + "&".join(f"{key}={value}" for key, value in pairs)
