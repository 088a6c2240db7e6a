"""Decodes input from outside: JSON, and the pairs of query strings and forms.

No other module parses a client's input (`banned-api` in pyproject.toml). Bytes, levels and pairs
are bounded before the parser runs: a parser that meets a thousand brackets raises RecursionError,
and a deep value that was decoded raises it in the next function that walks through it.
"""

import re
from collections.abc import Callable, Hashable
from functools import cache
from itertools import accumulate
from typing import Any, Final, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec

T = TypeVar("T")

MAX_BYTES: Final = 1_048_576
# Bodies of the API have up to five levels, Stripe's events up to a dozen.
MAX_DEPTH: Final = 32
MAX_CONTAINERS: Final = 10_000
MAX_PAIRS: Final = 64

_BYTE = re.compile(r"\(byte (\d+)\)")
# Quotes stay; a bracket becomes its step as a signed byte: 1 level up, or 1 down.
_MARKS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_UNMARKED: Final = bytes(set(range(256)) - set(b'"[{]}'))


class Malformed(msgspec.MsgspecError):
    """The input is not in its format or exceeds a bound. The message completes a sentence that
    begins with the input: "is not UTF-8".
    """


def decode_json(text: bytes | str, model: type[T]) -> T:
    """The value of a JSON text, as `model`.

    Raises msgspec.ValidationError for JSON that is not of the model, Malformed for all else, and
    nothing else. A `msgspec.Raw` in the model is valid UTF-8 and keeps the bound of levels.
    """
    try:
        encoded = text.encode() if isinstance(text, str) else text
        if not encoded.isascii():
            encoded.decode()
    except UnicodeError as error:
        raise Malformed("is not UTF-8") from error
    if len(encoded) > MAX_BYTES:
        raise Malformed(f"has more than {MAX_BYTES} bytes")
    _check_nesting(encoded)
    try:
        value: T = _decoder(cast(Hashable, model))(encoded)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        byte = _BYTE.search(str(error))
        reason = f"see byte {byte[1]}" if byte else "it is empty or cut short"
        raise Malformed(f"is not valid JSON: {reason}") from error
    return value


def decode_pairs(text: bytes) -> list[tuple[str, str]]:
    """The names and values of a query string or an urlencoded form, in their order.

    Raises Malformed.
    """
    if len(text) > MAX_BYTES:
        raise Malformed(f"has more than {MAX_BYTES} bytes")
    if text.count(b"&") >= MAX_PAIRS:
        raise Malformed(f"has more than {MAX_PAIRS} parameters")
    try:
        return parse_qsl(text.decode(), keep_blank_values=True, errors="strict")
    except UnicodeError as error:
        raise Malformed("is not UTF-8") from error


@cache
def _decoder(model: Any) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(model).decode


def _check_nesting(text: bytes) -> None:
    """Raises Malformed for too many levels, or too many arrays and objects.

    Up to its first mistake, a text is divided into strings as by the parser, so the parser reaches
    no level that is not counted here.
    """
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    marks = text.replace(rb"\\", b"").replace(rb"\"", b"").translate(_MARKS, _UNMARKED)
    # Without the empty strings, few parts are left to split; no other quote changes its role.
    steps = b"".join(marks.replace(b'""', b"").split(b'"')[::2])
    if len(steps) > 2 * MAX_CONTAINERS:
        raise Malformed(f"has more than {MAX_CONTAINERS} arrays and objects")
    if max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH:
        raise Malformed(f"has more than {MAX_DEPTH} levels")
