"""The frames of WebSocket clients (RFC 6455, section 5), read from bytes without a parser's state.

The `websockets` package has a parser too, but as an object with generators and a buffer for each
connection, of 4 KB. Here the state of a socket is the bytes of its incomplete frame.
"""

from collections.abc import Callable
from typing import Any, Final, cast

from websockets import frames
from websockets.exceptions import ProtocolError
from websockets.frames import Close, CloseCode, Frame, Opcode

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
FIN: Final = 0x80
OPCODE: Final = 0x0F
MASKED: Final = 0x80
MAX_CONTROL_BYTES: Final = 125

# A control frame has no fragments, and the reserved bits are for extensions, which are off.
_FIRST_BYTES: Final = frozenset(
    (0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x80 | CLOSE, 0x80 | PING, 0x80 | 0xA)
)


# In C, where the package has it compiled.
_apply_mask: Final[Callable[[bytes, bytes], bytes]] = cast(Any, frames).apply_mask


class BrokenFrame(Exception):
    """The client broke the protocol. The connection ends with this close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def broken(reason: str) -> BrokenFrame:
    return BrokenFrame(CloseCode.PROTOCOL_ERROR, reason)


def read_frame(data: bytes, at: int, max_bytes: int) -> tuple[int, bytes, int] | None:
    """Read the frame that begins at `at`: its first byte, its payload and its end in `data`.

    Returns None when the frame is incomplete. Raises BrokenFrame: 1002 for a frame that no client
    may send, 1009 for more than `max_bytes`.
    """
    size = len(data) - at
    if size < 2:
        return None
    first, second = data[at], data[at + 1]
    if first not in _FIRST_BYTES:
        raise broken("invalid opcode or reserved bits")
    if not second & MASKED:
        raise broken("incorrect masking")
    length, head = second & ~MASKED, 2
    if length > MAX_CONTROL_BYTES:
        if first & CLOSE:
            raise broken("control frame too long")
        head = 4 if length == 126 else 10
        if size < head:
            return None
        length = int.from_bytes(data[at + 2 : at + head], "big")
    if length > max_bytes and not first & CLOSE:
        raise BrokenFrame(CloseCode.MESSAGE_TOO_BIG, f"over {max_bytes} bytes")
    begin = at + head + 4
    end = begin + length
    if len(data) < end:
        return None
    return first, _apply_mask(data[begin:end], data[begin - 4 : begin]), end


def check_close(payload: bytes) -> None:
    """Raises BrokenFrame for a close frame without a valid code and reason."""
    try:
        Close.parse(payload)
    except ProtocolError as error:
        raise broken(str(error)) from error
    except UnicodeDecodeError as error:
        raise BrokenFrame(CloseCode.INVALID_DATA, "a reason that is not UTF-8") from error


def close_frame(code: int, reason: str) -> bytes:
    return Frame(Opcode.CLOSE, Close(code, reason).serialize()).serialize(mask=False)


def control_frame(opcode: int, payload: bytes) -> bytes:
    """A server's pong or close with up to 125 bytes."""
    return bytes((FIN | opcode, len(payload))) + payload
