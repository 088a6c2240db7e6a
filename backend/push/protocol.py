"""The words of the Pusher Channels protocol 7: codes, channel names, envelopes and frames. Pure.

A frame is the whole WebSocket frame as a server sends it, so that one message is encoded once however many sockets it
goes to. `data` travels double-encoded: a JSON string that holds JSON.
"""

import re
from enum import Enum, IntEnum
from typing import Any, Final, TypeVar

import msgspec
from websockets.frames import Frame, Opcode

MAX_NAME_LENGTH: Final = 200
SERVER_TO_USER_PREFIX: Final = "#server-to-user-"
SUPPORTED_PROTOCOLS: Final = range(5, 8)

_NAME = re.compile(r"[A-Za-z0-9_\-=@,.;]+")
_SOCKET_ID = re.compile(r"\d+\.\d+", re.ASCII)

T = TypeVar("T")


class Close(IntEnum):
    """40xx: never come back; 41xx: after a second; 42xx: at once. 43xx only inside `pusher:error`."""

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
    UNAUTHORIZED = 4009
    OVER_CAPACITY = 4100
    CLIENT_EVENT_REFUSED = 4301


# What is sent to one user, and may be heard by that user alone.
USER_CHANNEL_PREFIX: Final = "private-user-"


class Kind(Enum):
    PUBLIC = "public"
    PRIVATE = "private"
    ENCRYPTED = "encrypted"
    PRESENCE = "presence"
    SERVER_TO_USER = "server-to-user"


class Envelope(msgspec.Struct):
    """What a client sends. `data` may be an object or a string that holds one."""

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


class MemberData(msgspec.Struct):
    user_id: str | int
    user_info: msgspec.Raw = msgspec.Raw(b"{}")


decode_envelope: Final = msgspec.json.Decoder(Envelope).decode
encode: Final = msgspec.json.encode


def decode_data(raw: msgspec.Raw, shape: type[T]) -> T:
    """Read an envelope's data, an object or a string that holds one. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(wire_data(raw), type=shape)


def wire_data(raw: msgspec.Raw) -> str:
    """An envelope's data as text: a string stays itself, anything else stays its JSON."""
    text = bytes(raw).decode()
    return msgspec.json.decode(text, type=str) if text.startswith('"') else text


def kind_of(channel: str) -> Kind:
    if channel.startswith(SERVER_TO_USER_PREFIX):
        return Kind.SERVER_TO_USER
    if channel.startswith("private-encrypted-"):
        return Kind.ENCRYPTED
    if channel.startswith("private-"):
        return Kind.PRIVATE
    return Kind.PRESENCE if channel.startswith("presence-") else Kind.PUBLIC


def is_channel_name(name: str) -> bool:
    return len(name) <= MAX_NAME_LENGTH and bool(
        _NAME.fullmatch(name.removeprefix(SERVER_TO_USER_PREFIX))
    )


def is_user_id(text: str) -> bool:
    return len(text) <= MAX_NAME_LENGTH and bool(_NAME.fullmatch(text))


def is_socket_id(text: str) -> bool:
    return len(text) <= MAX_NAME_LENGTH and bool(_SOCKET_ID.fullmatch(text))


def handshake_refusal(version: str | None) -> Close | None:
    """Why a client that names this protocol version can't be served, if it can't."""
    if not version:
        return Close.NO_PROTOCOL
    if not (version.isascii() and version.isdigit()) or len(version) > 4:
        return Close.BAD_VERSION
    return None if int(version) in SUPPORTED_PROTOCOLS else Close.UNSUPPORTED_PROTOCOL


def frame(event: str, data: str, channel: str | None = None, user_id: str | None = None) -> bytes:
    """One unmasked text frame; `data` is the string that the client gets, JSON inside or not."""
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
    # pusher-js throws without a timeout above zero.
    timeout = max(1, round(activity_timeout_seconds))
    return json_frame(
        "pusher:connection_established", {"socket_id": socket_id, "activity_timeout": timeout}
    )


def subscription_succeeded(channel: str, data: Any) -> bytes:
    return json_frame("pusher_internal:subscription_succeeded", data, channel)


def subscription_error(channel: str, type: str, error: str, status: int) -> bytes:
    return object_frame(
        "pusher:subscription_error", {"type": type, "error": error, "status": status}, channel
    )


def error(code: int | None, message: str, channel: str | None = None) -> bytes:
    return object_frame("pusher:error", {"code": code, "message": message}, channel)


def object_frame(event: str, data: Any, channel: str | None = None) -> bytes:
    """A frame whose data is an object: what clients expect of errors, and of nothing else."""
    envelope = {"event": event, "data": data} | (
        {"channel": channel} if channel is not None else {}
    )
    return Frame(Opcode.TEXT, encode(envelope)).serialize(mask=False)


PING: Final = frame("pusher:ping", "{}")
PONG: Final = frame("pusher:pong", "{}")
