"""Input from outside: each value is decoded or refused, within bounds, by two exceptions alone."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backend
from backend.kernel import decoding
from backend.kernel.decoding import (
    MAX_BYTES,
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_PAIRS,
    Malformed,
    decode_json,
    decode_pairs,
)


class Envelope(msgspec.Struct):
    """Unknown members are skipped, and `data` stays encoded: both could hide a deep value."""

    event: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * levels + b"1" + closing * levels


# Wherever the value is, the parser has to walk through it.
PLACES = {
    "the text": b"%b",
    "an unknown member": b'{"unknown": %b}',
    "an encoded member": b'{"data": %b}',
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("model", [Envelope, Any, list[Any]])
@pytest.mark.parametrize("deep", [nested(100_000), b"[" * 100_000, nested(900), b'{"a":' * 50_000])
def test_a_deep_value_is_malformed(place: str, model: Any, deep: bytes) -> None:
    with pytest.raises(Malformed, match=r"levels|arrays and objects"):
        decode_json(PLACES[place] % deep, model)


@pytest.mark.parametrize(
    ("opening", "closing", "levels"),
    [(b"[", b"]", 1), (b'{"a":', b"}", 1), (b'[{"\\"[": ', b"}]", 2)],
)
def test_values_up_to_the_bound_of_levels_are_decoded(
    opening: bytes, closing: bytes, levels: int
) -> None:
    decode_json(nested(MAX_DEPTH // levels, opening, closing), Any)
    with pytest.raises(Malformed, match=f"more than {MAX_DEPTH} levels"):
        decode_json(nested(MAX_DEPTH // levels + 1, opening, closing), Any)


@pytest.mark.parametrize("text", ["[" * 99, '"' + "{" * 99, '\\"' * 50 + "[", "\\" * 7 + '"' * 8])
def test_brackets_in_strings_are_no_levels(text: str) -> None:
    value: Any = [text, {text: [text]}] * 20
    assert decode_json(json.dumps(value), Any) == value


def test_many_siblings_are_decoded_up_to_the_bound_of_containers() -> None:
    assert len(decode_json(b"[" + b"[]," * (MAX_CONTAINERS - 2) + b"[]]", list[Any])) > 9_000
    with pytest.raises(Malformed, match="arrays and objects"):
        decode_json(b"[" + b"[]," * MAX_CONTAINERS + b"[]]", Any)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is not valid JSON: it is empty or cut short"),
        (b"{", "is not valid JSON: it is empty or cut short"),
        (b'{"event": NaN}', "is not valid JSON: see byte 10"),
        (b'{"event": "\xff"}', "is not UTF-8"),
        # Without the check, msgspec keeps these bytes in a Raw.
        (b'{"data": "\xff"}', "is not UTF-8"),
        ('{"event": "\ud800"}', "is not UTF-8"),
        (b'"' + b"x" * MAX_BYTES + b'"', f"has more than {MAX_BYTES} bytes"),
    ],
)
def test_a_text_that_is_not_json_is_malformed_for_a_reason(text: Any, reason: str) -> None:
    with pytest.raises(Malformed, match=f"^{re.escape(reason)}$"):
        decode_json(text, Envelope)


@pytest.mark.parametrize("text", [b'{"event": 1}', b"[]", b"1" * 5000, b'{"event": ' + b"1" * 5000])
def test_json_that_is_not_of_the_model_is_a_validation_error(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_json(text, Envelope)


PIECES = [
    "[",
    "]",
    "{",
    "}",
    '"',
    "\\",
    '\\"',
    '""',
    ":",
    ",",
    "1",
    "true",
    "a",
    "é",
    "\\u0000",
    " ",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\[]{}é'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='a"\\[{'), inner),
    max_leaves=80,
)


@given(JSON)
def test_the_levels_of_every_json_text_are_counted_exactly(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "MAX_DEPTH", depth_of(value))
        decoding._check_nesting(text)
        patch.setattr(decoding, "MAX_DEPTH", depth_of(value) - 1)
        with pytest.raises(Malformed):
            decoding._check_nesting(text)


@given(st.lists(st.sampled_from(PIECES), max_size=200).map("".join))
def test_any_text_is_decoded_malformed_or_invalid_as_by_the_parser(text: str) -> None:
    try:
        expected = msgspec.json.decode(text)
    except msgspec.DecodeError:
        with pytest.raises(msgspec.MsgspecError):
            decode_json(text, Any)
    else:
        assert decode_json(text, Any) == expected


@given(st.binary(max_size=300))
def test_any_bytes_are_pairs_or_malformed(text: bytes) -> None:
    try:
        pairs = decode_pairs(text)
    except Malformed:
        return
    assert {type(part) for pair in pairs for part in pair} <= {str}


def test_pairs_are_decoded_in_their_order_with_empty_and_repeated_ones() -> None:
    assert decode_pairs(b"a=1&b=&a=%C3%A9+%26&c") == [
        ("a", "1"),
        ("b", ""),
        ("a", "é &"),
        ("c", ""),
    ]
    assert decode_pairs(b"") == []


@pytest.mark.parametrize("text", [b"a=%FF", b"%C3=1", b"a=\xff", b"&".join([b"a=1"] * 65)])
def test_pairs_that_are_no_text_or_too_many_are_malformed(text: bytes) -> None:
    assert len(decode_pairs(b"&".join([b"a=1"] * MAX_PAIRS))) == MAX_PAIRS
    with pytest.raises(Malformed):
        decode_pairs(text)


def test_no_module_reads_a_request_by_a_decoder_without_bounds() -> None:
    """Ruff bans the other decoders by their names; these are methods of a request."""
    unbounded = re.compile(r"request\.(json|form)\(|\.query_params")
    found = {
        str(path)
        for path in Path(backend.__file__).parent.rglob("*.py")
        if "stripe_sandbox" not in path.parts and unbounded.search(path.read_text())
    }
    # `QueryParams` of a handshake: its bound is that of the request's head.
    assert {Path(path).name for path in found} <= {"gateway.py"}


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0
