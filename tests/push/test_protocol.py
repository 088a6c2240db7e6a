import json

import msgspec
import pytest

from backend.push import protocol
from backend.push.protocol import Close, Kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("show-1", Kind.PUBLIC),
        ("cache-show-1", Kind.PUBLIC),
        ("private-user-1", Kind.PRIVATE),
        ("private-cache-1", Kind.PRIVATE),
        ("private-encrypted-1", Kind.ENCRYPTED),
        ("presence-show-1", Kind.PRESENCE),
        ("#server-to-user-1", Kind.SERVER_TO_USER),
    ],
)
def test_a_channels_kind_is_its_prefix(name: str, kind: Kind) -> None:
    assert protocol.kind_of(name) is kind


@pytest.mark.parametrize(
    "name", ["a", "A-z_0=@,.;", "x" * 200, "#server-to-user-7", "#server-to-user-auth0|é 1"]
)
def test_names_within_the_charset_are_channels(name: str) -> None:
    assert protocol.is_channel_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "é",
        "x" * 201,
        "#other",
        "a\n",
        "#server-to-user-",
        "#server-to-user-" + "x" * 129,
    ],
)
def test_names_outside_the_charset_are_not_channels(name: str) -> None:
    assert not protocol.is_channel_name(name)


@pytest.mark.parametrize("text", ["1", "auth0|123", "me+x@example.com", "é", "🎫" * 128, "a b/c"])
def test_a_user_id_is_any_text(text: str) -> None:
    assert protocol.is_user_id(text)


@pytest.mark.parametrize("text", ["", "x" * 129])
def test_a_user_id_has_up_to_128_characters(text: str) -> None:
    assert not protocol.is_user_id(text)


@pytest.mark.parametrize(
    ("version", "refusal"),
    [
        (None, Close.NO_PROTOCOL),
        ("", Close.NO_PROTOCOL),
        ("x", Close.BAD_VERSION),
        ("7.0", Close.BAD_VERSION),
        ("²", Close.BAD_VERSION),
        ("4", Close.UNSUPPORTED_PROTOCOL),
        ("8", Close.UNSUPPORTED_PROTOCOL),
        ("5", None),
        ("7", None),
    ],
)
def test_the_handshake_refuses_a_version_with_its_close_code(
    version: str | None, refusal: Close | None
) -> None:
    assert protocol.handshake_refusal(version) is refusal


@pytest.mark.parametrize("size", [0, 100, 200, 70_000])
def test_a_frame_is_one_unmasked_text_message_with_its_data_as_a_string(size: int) -> None:
    frame = protocol.frame("n", "ü" * size, "show-1")
    header = 2 if len(frame) - 2 < 126 else 4 if len(frame) - 4 < 65_536 else 10
    assert frame[0] == 0x81
    assert json.loads(frame[header:]) == {"event": "n", "channel": "show-1", "data": "ü" * size}


@pytest.mark.parametrize("sent", [b'{"channel":"a"}', b'"{\\"channel\\":\\"a\\"}"'])
def test_a_clients_data_may_be_an_object_or_a_string(sent: bytes) -> None:
    assert protocol.decode_data(msgspec.Raw(sent), protocol.Unsubscribe).channel == "a"
