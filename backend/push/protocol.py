"""The Pusher Channels protocol 7: close codes, channel names, envelopes and frames, as pure
functions.

A frame is a complete WebSocket frame of a server, so a message is encoded once for all its sockets.
`data` is encoded twice: a JSON string that contains JSON.
"""

import re
from enum import Enum, IntEnum
from typing import Annotated, Any, Final, TypeVar

import msgspec
from websockets.frames import Frame, Opcode

from backend.kernel.decoding import decode_json

MAX_NAME_LENGTH: Final = 200
MAX_USER_ID_LENGTH: Final = 128
SERVER_TO_USER_PREFIX: Final = "#server-to-user-"
TIME: Final = "gittix:time"
MAX_QUESTION: Final = 256
SUPPORTED_PROTOCOLS: Final = range(5, 8)

_NAME = re.compile(r"[A-Za-z0-9_\-=@,.;]+")
_APP_PATH = re.compile(r"/app/([^/]+)")
_SOCKET_ID = re.compile(r"\d+\.\d+", re.ASCII)

T = TypeVar("T")


class Close(IntEnum):
    """The close codes of the gateway.

    After 40xx a client must not reconnect, after 41xx it waits a second, after 42xx it reconnects
    at once. The codes of RFC 6455 are for frames that no Pusher client sends.
    """

    UNSUPPORTED_DATA = 1003
    INVALID_DATA = 1007
    UNKNOWN_APP = 4001
    WRONG_PATH = 4005
    BAD_VERSION = 4006
    UNSUPPORTED_PROTOCOL = 4007
    NO_PROTOCOL = 4008
    UNAUTHORIZED = 4009
    OVER_CAPACITY = 4100
    RECONNECT = 4200
    PONG_MISSING = 4201


class ErrorCode(IntEnum):
    """The codes inside `pusher:error`; those of 43xx appear only there."""

    UNAUTHORIZED = 4009
    OVER_CAPACITY = 4100
    CLIENT_EVENT_REFUSED = 4301
    WATCHLIST_TOO_LONG = 4302


# The prefix of channels that only one user may subscribe to.
USER_CHANNEL_PREFIX: Final = "private-user-"
SHOW_PRESENCE_PREFIX: Final = "presence-show-"


CLIENT_EVENT_PREFIX: Final = "client-"
CACHE_PREFIXES: Final = ("cache-", "private-cache-", "private-encrypted-cache-", "presence-cache-")


class Kind(Enum):
    PUBLIC = "public"
    PRIVATE = "private"
    ENCRYPTED = "encrypted"
    PRESENCE = "presence"
    SERVER_TO_USER = "server-to-user"


class Envelope(msgspec.Struct):
    """A client's message. `data` is an object, or a string that contains one as JSON."""

    event: str
    channel: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


class Subscribe(msgspec.Struct):
    channel: str
    auth: str | None = None
    channel_data: str | None = None


class Unsubscribe(msgspec.Struct):
    channel: str


class Signin(msgspec.Struct):
    auth: str
    user_data: str


class UserData(msgspec.Struct):
    id: str
    user_info: msgspec.Raw = msgspec.Raw(b"{}")
    watchlist: Any = ()


class Viewer(msgspec.Struct):
    """The random id that the tabs of a browser share."""

    browser: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


# The integers that every client can represent.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Resume(msgspec.Struct):
    """The last message that a client has of a channel. `socket_id` is that of the socket by which
    it had it.
    """

    channel: str
    epoch: Count
    seq: Count
    socket_id: str | None = None


class MemberData(msgspec.Struct):
    user_id: str | int
    user_info: msgspec.Raw = msgspec.Raw(b"{}")


encode: Final = msgspec.json.encode


def decode_envelope(text: str) -> Envelope:
    """Decode a client's message. Raises msgspec.MsgspecError."""
    return decode_json(text, Envelope)


def decode_data(raw: msgspec.Raw, shape: type[T]) -> T:
    """Decode an envelope's data, an object or a string that contains one.

    Raises msgspec.MsgspecError.
    """
    return decode_json(wire_data(raw), shape)


def wire_data(raw: msgspec.Raw) -> str:
    """Return an envelope's data as text: the value of a string, or the JSON of anything else.

    Raises msgspec.MsgspecError.
    """
    text = bytes(raw)
    return decode_json(text, str) if text.startswith(b'"') else text.decode()


def kind_of(channel: str) -> Kind:
    if channel.startswith(SERVER_TO_USER_PREFIX):
        return Kind.SERVER_TO_USER
    if channel.startswith("private-encrypted-"):
        return Kind.ENCRYPTED
    if channel.startswith("private-"):
        return Kind.PRIVATE
    return Kind.PRESENCE if channel.startswith("presence-") else Kind.PUBLIC


def is_cache_channel(channel: str) -> bool:
    return channel.startswith(CACHE_PREFIXES)


def needs_session(channel: str) -> bool:
    """Return whether only a session authorizes a subscription to this channel of GitTix."""
    return channel.startswith((USER_CHANNEL_PREFIX, SHOW_PRESENCE_PREFIX))


def is_channel_name(name: str) -> bool:
    if name.startswith(SERVER_TO_USER_PREFIX):
        return is_user_id(name.removeprefix(SERVER_TO_USER_PREFIX))
    return len(name) <= MAX_NAME_LENGTH and bool(_NAME.fullmatch(name))


def is_user_id(text: str) -> bool:
    """Whether a text is a user's id. It was decoded from UTF-8; all of its characters count."""
    return 0 < len(text) <= MAX_USER_ID_LENGTH


def is_socket_id(text: str) -> bool:
    return len(text) <= MAX_NAME_LENGTH and bool(_SOCKET_ID.fullmatch(text))


def app_key(path: str) -> str | None:
    """Return the key in the path of a handshake, or None if the path is not that of an app."""
    found = _APP_PATH.fullmatch(path)
    return found[1] if found else None


def handshake_refusal(version: str | None) -> Close | None:
    """Return the close code for an unsupported protocol version, or None for a supported one."""
    if not version:
        return Close.NO_PROTOCOL
    if not (version.isascii() and version.isdigit()) or len(version) > 4:
        return Close.BAD_VERSION
    return None if int(version) in SUPPORTED_PROTOCOLS else Close.UNSUPPORTED_PROTOCOL


def frame(event: str, data: str, channel: str | None = None, user_id: str | None = None) -> bytes:
    """Return one unmasked text frame.

    `data` is passed to the client as a string, which may contain JSON.
    """
    envelope: dict[str, str] = {"event": event}
    if channel is not None:
        envelope["channel"] = channel
    envelope["data"] = data
    if user_id is not None:
        envelope["user_id"] = user_id
    return Frame(Opcode.TEXT, encode(envelope)).serialize(mask=False)


def json_frame(event: str, data: Any, channel: str | None = None) -> bytes:
    return frame(event, encode(data).decode(), channel)


def connection_established(socket_id: str, activity_timeout_seconds: float) -> bytes:
    # pusher-js throws an error when the timeout is not above zero.
    timeout = max(1, round(activity_timeout_seconds))
    return json_frame(
        "pusher:connection_established", {"socket_id": socket_id, "activity_timeout": timeout}
    )


def clock(now: int, question: msgspec.Raw) -> bytes:
    """Return the server's clock, Unix time in milliseconds, beside the fields of the question.

    Raises msgspec.MsgspecError for a question that is no object or has more than MAX_QUESTION
    bytes.
    """
    if len(question) > MAX_QUESTION:
        raise msgspec.ValidationError("the question is too long")
    return json_frame(TIME, decode_data(question, dict[str, msgspec.Raw]) | {"now": now})


def subscription_succeeded(channel: str, data: Any) -> bytes:
    return json_frame("pusher_internal:subscription_succeeded", data, channel)


def subscription_error(channel: str, type: str, error: str, status: int) -> bytes:
    return object_frame(
        "pusher:subscription_error", {"type": type, "error": error, "status": status}, channel
    )


def error(code: int | None, message: str, channel: str | None = None) -> bytes:
    return object_frame("pusher:error", {"code": code, "message": message}, channel)


def object_frame(event: str, data: Any, channel: str | None = None) -> bytes:
    """Return a frame with an object as its data; clients expect this of errors only."""
    envelope = {"event": event, "data": data} | (
        {"channel": channel} if channel is not None else {}
    )
    return Frame(Opcode.TEXT, encode(envelope)).serialize(mask=False)


PING: Final = frame("pusher:ping", "{}")
PONG: Final = frame("pusher:pong", "{}")
