"""Signatures, by the test vectors of Pusher's documentation."""

import time
from uuid import UUID

import pytest

from backend.push import signature
from tests.push.servers import KEY, SECRET

VECTORS = {
    signature.channel_text(
        "1234.1234", "private-foobar"
    ): "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
    signature.channel_text(
        "1234.1234", "presence-foobar", '{"user_id":10,"user_info":{"name":"Mr. Pusher"}}'
    ): "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
    signature.signin_text(
        "1234.1234", '{"id":"12345"}'
    ): "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
    signature.request_text(
        "POST",
        "/apps/3/events",
        [
            ("body_md5", "ec365a775a4cd0599faeb73354201b6f"),
            ("auth_signature", "not signed"),
            ("Auth_Version", "1.0"),
            ("auth_key", KEY),
            ("auth_timestamp", "1353088179"),
        ],
    ): "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
}


@pytest.mark.parametrize(("text", "digest"), VECTORS.items())
def test_the_documented_vectors(text: str, digest: str) -> None:
    assert signature.sign(SECRET, text) == digest
    assert signature.verify_token(KEY, SECRET, text, f"{KEY}:{digest}")


@pytest.mark.parametrize(
    "token", ["", ":", KEY, f"{KEY}:", f"{KEY}:é", f"{KEY}:\ud800", f"other:{'0' * 64}"]
)
def test_other_tokens_are_refused(token: str) -> None:
    assert not signature.verify_token(KEY, SECRET, "1234.1234:private-foobar", token)


def test_the_right_signature_under_another_key_is_refused() -> None:
    assert not signature.verify_token(KEY, SECRET, "a", "other:" + signature.sign(SECRET, "a"))


def for_session(text: str = "1.1:private-user-a") -> str:
    return signature.sign_for_session(KEY, SECRET, text, session_id=UUID(int=7), session_until=90)


def test_a_token_for_a_session_names_it_and_is_valid_for_a_minute() -> None:
    named = signature.verify_for_session(KEY, SECRET, "1.1:private-user-a", for_session())
    assert named is not None
    assert (named.session_id, named.session_until) == (UUID(int=7), 90)
    assert 58 <= named.use_by - time.time() <= 60


def test_a_changed_token_for_a_session_is_refused() -> None:
    key, session, digest = for_session().split(":")
    session_id, use_by, until = session.split(".")
    plain = signature.sign(SECRET, "1.1:private-user-a")
    changed = [
        f"other:{session}:{digest}",
        f"{key}:{UUID(int=8).hex}.{use_by}.{until}:{digest}",
        f"{key}:{session_id}.{int(use_by) + 1}.{until}:{digest}",
        f"{key}:{session_id}.{use_by}.{until}0:{digest}",
        f"{key}:{session_id}.{use_by}:{digest}",
        f"{key}:{session}:{plain}",
        f"{key}:{plain}",
        f"{key}:{session}",
        f"{key}:{session}:\ud800",
        "::",
        "",
    ]
    text = "1.1:private-user-a"
    assert [signature.verify_for_session(KEY, SECRET, text, token) for token in changed] == [
        None
    ] * len(changed)
    other = "1.1:private-user-b"
    assert signature.verify_for_session(KEY, SECRET, other, for_session()) is None


def test_a_token_for_a_session_is_no_plain_signature() -> None:
    session, digest = for_session().removeprefix(f"{KEY}:").split(":")
    for text in ("1.1:private-user-a", f"1.1:private-user-a:{session}"):
        assert not signature.verify_token(KEY, SECRET, text, f"{KEY}:{digest}")
