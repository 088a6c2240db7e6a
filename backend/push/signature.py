"""The HMAC-SHA256 signatures of the Pusher protocol: the signed texts, and verification in constant
time.

`channel_data` and `user_data` are signed as the raw strings of the request: they must be verified
before they are parsed or encoded again.
"""

import hashlib
import hmac
from collections.abc import Iterable


def sign(secret: str, text: str) -> str:
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
