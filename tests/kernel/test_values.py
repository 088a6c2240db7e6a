"""Money, text, cursors and ids."""

import time
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel import money
from backend.kernel.ids import new_id
from backend.kernel.pagination import decode_cursor, encode_cursor, page_of
from backend.kernel.problems import Invalid
from backend.kernel.text import clean, clean_optional


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (4500, "EUR", "45.00 EUR"),
        (5, "USD", "0.05 USD"),
        (0, "GBP", "0.00 GBP"),
        (500, "JPY", "500 JPY"),
        (1234, "KWD", "1.234 KWD"),
        (5000_00, "ISK", "5000 ISK"),
        (5000_50, "ISK", "5000.50 ISK"),
        (2500, "UGX", "2500 UGX"),
        (99_999_999, "EUR", "999999.99 EUR"),
    ],
)
def test_money_is_shown_with_its_currencys_decimals(amount: int, currency: str, shown: str) -> None:
    assert money.show(amount, currency) == shown


@given(st.integers(), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_formatted_money_keeps_every_digit(amount: int, currency: str) -> None:
    shown, code = money.show(amount % 10**20, currency).split()
    assert code == currency
    assert int(shown.replace(".", "")) == amount % 10**20


@pytest.mark.parametrize("price", [0, -1, money.MAX_AMOUNT + 1, 1.5, True, "100", None])
def test_a_price_is_a_positive_integer_that_can_be_charged(price: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(price, money.Price)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Harbour \t Lights\n", "Harbour Lights"),
        ("Caf\u00e9", "Caf\u00e9"),
        ("\U0001f469\u200d\U0001f3a4 live", "\U0001f469\u200d\U0001f3a4 live"),
        ("\u05e9\u05dc\u05d5\u05dd", "\u05e9\u05dc\u05d5\u05dd"),
        ("a\u00a0b\u2003c", "a b c"),
        ("\u0410\u043d\u043d\u0430 Karenina", "\u0410\u043d\u043d\u0430 Karenina"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("\u2764\ufe0f", "\u2764\ufe0f"),
        ("O\u2019Neill-\u0106osi\u0107 3\u00b0", "O\u2019Neill-\u0106osi\u0107 3\u00b0"),
    ],
)
def test_text_is_normalized(typed: str, kept: str) -> None:
    assert clean("title", typed) == kept


@pytest.mark.parametrize(
    "shown",
    [
        "\U0001fa77 night",  # pink heart, Unicode 15
        "\U0001fae9\U0001faea",  # not in Python 3.11's tables
        "\U0001f469\u200d\U0001f469\u200d\U0001f467",  # family
        "\U0001f469\U0001f3fd\u200d\U0001f680",  # astronaut with a skin tone
        "\u2764\ufe0f\u200d\U0001f525 \u2764\ufe0f",  # heart on fire, heart
        "1\ufe0f\u20e3 #\ufe0f\u20e3",  # keycaps
        "\U0001f1f3\U0001f1f1 \U0001f3f3\ufe0f\u200d\U0001f308",  # flags
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # Scotland
        "\u2139\ufe0f \u203c\ufe0f \u00a9\ufe0f",
        "\u0646\u0645\u0627\u06cc\u0634\u200c\u0646\u0627\u0645\u0647",  # Persian
        "\u0915\u094d\u200d\u0937 \u0915\u094d\u200c\u0937",  # Hindi
        "\u0dc1\u0dca\u200d\u0dbb\u0dd3",  # Sinhala
        "\u845b\U000e0100",  # a variant of a Chinese character
    ],
)
def test_joined_and_new_characters_are_kept(shown: str) -> None:
    assert clean("title", shown) == shown
    assert clean("title", clean("title", shown)) == shown


def test_accents_are_composed() -> None:
    assert clean("title", "Sigur Ro\u0301s") == "Sigur R\u00f3s"


@pytest.mark.parametrize(
    "typed",
    [
        "A\u200bna",
        "\ufeffAna",
        "A\u00adna\u200f",
        "\u3164A\u2060na\u2800",
        "Ana\U000e0041",
        "A\u200dna",
        "An\ufe0f\u200da",
        "\u200cAna",
        "A\u206ana\ufffc",
        "Ana\U000e01f0\U0001d159",
        "Ana\U000e0067\U000e0062\U000e007f",
    ],
)
def test_invisible_characters_are_left_out(typed: str) -> None:
    assert clean("name", typed) == "Ana"


@pytest.mark.parametrize(
    "typed",
    [
        "\u200b",
        "\u3164\u2800",
        "\u200d\u200c",
        "\ufe0f",
        "\u0301",
        "\u2065",
        "\ufffc",
        "\U0001d159",
    ],
)
def test_a_text_that_shows_nothing_is_empty(typed: str) -> None:
    with pytest.raises(Invalid, match="must not be empty"):
        clean("name", typed)


@pytest.mark.parametrize(
    "typed", ["P\u0430ypal", "P\u0430\u0323ypal", "\u0410nna", "AC/\u0394C", "\u039fslo Hall"]
)
def test_a_word_of_two_alphabets_is_refused(typed: str) -> None:
    with pytest.raises(Invalid, match="different alphabets"):
        clean("name", typed)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "   ",
        "\n",
        "a\u0000b",
        "a\u0007",
        "a\u202eb",
        "\u2066x",
        "\ue000",
        "\uffff",
        "\ufdd0",
        "a\U0001ffff",
    ],
)
def test_unprintable_text_is_refused(typed: str) -> None:
    with pytest.raises(Invalid) as refused:
        clean("title", typed)
    assert [error.field for error in refused.value.errors or []] == ["title"]


def test_an_empty_optional_text_is_none() -> None:
    assert [clean_optional("seat", text) for text in (None, "", "  ", " 7 ")] == [
        None,
        None,
        None,
        "7",
    ]


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_decodes_to_its_key(when: datetime, id: UUID) -> None:
    assert decode_cursor(encode_cursor((when, id)), tuple[datetime, UUID]) == (when, id)


@given(st.text())
def test_any_other_text_is_refused_as_a_cursor(text: str) -> None:
    if not text:
        assert decode_cursor(text, UUID) is None
        return
    with pytest.raises(Invalid):
        decode_cursor(text, UUID)


def test_a_page_has_a_cursor_iff_there_is_more() -> None:
    assert page_of([1, 2, 3], 2, lambda row: row).items == [1, 2]
    assert decode_cursor(page_of([1, 2, 3], 2, lambda row: row).next_cursor, int) == 2
    assert page_of([1, 2], 2, lambda row: row).next_cursor is None
    assert page_of(list[int](), 2, lambda row: row) == page_of(list[int](), 1, lambda row: row)


def test_ids_are_uuid_7_and_increase() -> None:
    before = time.time_ns() // 1_000_000
    made = []
    for _ in range(3):
        made.append(new_id())
        time.sleep(0.002)
    assert made == sorted(made)
    assert {(each.version, each.variant) for each in made} == {(7, "specified in RFC 4122")}
    assert before <= made[0].int >> 80 <= time.time_ns() // 1_000_000
    assert len({new_id() for _ in range(10_000)}) == 10_000
