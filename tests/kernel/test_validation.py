"""The texts of rejected input: plain sentences that name the field and the remedy."""

from collections.abc import Iterator
from datetime import date, datetime
from importlib import import_module
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from backend.kernel import openapi
from backend.kernel.decoding import Malformed, decode_json
from backend.kernel.problems import FieldError, Invalid, Problem
from backend.kernel.validation import NOT_ACCEPTED, field_error, invalid_input, not_json
from backend.push.api import Event, EventBatch

import_module("backend.bootstrap")  # declares every endpoint
MODELS: dict[str, Any] = {
    model.__name__: model
    for operation in openapi._operations.values()
    for model in (operation.body, operation.form, operation.query)
    if isinstance(model, type)
} | {model.__name__: model for model in (Event, EventBatch)}


class Seat(Struct, forbid_unknown_fields=True):
    row: str


class Sample(Struct, forbid_unknown_fields=True):
    """One field for each kind of constraint."""

    title: Annotated[str, Meta(max_length=120)]
    price: Annotated[int, Meta(ge=1, le=500)] | None = 1
    least: Annotated[int, Meta(ge=1)] = 1
    most: Annotated[int, Meta(le=9)] = 1
    plain: int = 1
    share: Annotated[float, Meta(ge=0, le=1.5)] = 1
    password: Annotated[str, Meta(min_length=8, max_length=200)] = "correct horse"
    word: Annotated[str, Meta(min_length=1)] = "x"
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", examples=["EUR"])] = "EUR"
    show_id: UUID | None = None
    starts_at: Annotated[datetime, Meta(tz=True)] | None = None
    day: date | None = None
    sort: Literal["newest", "oldest", "price"] = "newest"
    relist: bool = False
    either: int | str | None = None
    words: list[str] = []
    seats: Annotated[list[Seat], Meta(min_length=1, max_length=2)] | None = None
    labels: dict[str, int] = {}
    sizes: dict[int, int] = {}
    span: tuple[float, int] = (0, 1)


SENTENCES: list[tuple[Any, str, str]] = [
    ({"price": 0}, "price", "must be an integer from 1 to 500"),
    ({"price": 10**30}, "price", "must be an integer from 1 to 500"),
    ({"price": "1"}, "price", "must be an integer from 1 to 500"),
    ({"price": 1.5}, "price", "must be an integer from 1 to 500"),
    ({"least": 0}, "least", "must be an integer of at least 1"),
    ({"most": 10}, "most", "must be an integer of at most 9"),
    ({"plain": None}, "plain", "must be an integer"),
    ({"share": 2}, "share", "must be a number from 0 to 1.5"),
    ({"title": "x" * 121}, "title", "must have at most 120 characters"),
    ({"title": 7}, "title", "must be a text of at most 120 characters"),
    ({"password": "short"}, "password", "must have 8 to 200 characters"),
    ({"word": ""}, "word", "must have at least 1 character"),
    ({"currency": "euro"}, "currency", "must be a text that matches ^[A-Z]{3}$, such as EUR"),
    ({"show_id": "1"}, "show_id", "must be a UUID"),
    ({"show_id": []}, "show_id", "must be a UUID"),
    ({"day": "today"}, "day", "must be a date, such as 2030-12-31"),
    ({"sort": "x"}, "sort", "must be newest, oldest or price"),
    ({"sort": "x` - at `$.price"}, "sort", "must be newest, oldest or price"),
    ({"relist": 1}, "relist", "must be true or false"),
    ({"either": []}, "either", "must be an integer or a text"),
    ({"words": {}}, "words", "must be a list"),
    ({"words": ["a", 1]}, "words[1]", "must be a text"),
    ({"seats": []}, "seats", "must have 1 to 2 items"),
    ({"seats": "x"}, "seats", "must be a list of 1 to 2 items"),
    ({"seats": [7]}, "seats[0]", "must be an object"),
    ({"seats": [{"row": "A"}, {"row": 1}]}, "seats[1].row", "must be a text"),
    ({"seats": [{"row": "A"}, {}]}, "seats[1].row", "is required"),
    (
        {"seats": [{"row": "A", "colour": 1}]},
        "seats[0].colour",
        "is not a field of this request: remove it",
    ),
    ({"colour": 1}, "colour", "is not a field of this request: remove it"),
    ({"labels": 1}, "labels", "must be an object"),
    ({"span": [1]}, "span", "must be a list"),
    ({"span": [1.5, "x"]}, "span[1]", "must be an integer"),
    ({"labels": {"a": "b"}}, "labels[...]", "must be an integer"),
]
A_MOMENT = "must be a date and time with an offset, such as 2030-12-31T20:00:00Z"
MOMENTS = ["2030-01-01T20:00:00", "2030-02-30T20:00:00Z", "today", 1_900_000_000]


def rejected(body: Any, model: Any = Sample) -> FieldError:
    """The error of the body, which is sent as JSON."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode(body), type=model)
    return field_error(caught.value, model)


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [*SENTENCES, *(({"starts_at": value}, "starts_at", A_MOMENT) for value in MOMENTS)],
)
def test_an_error_names_the_field_and_the_remedy(body: Any, field: str, message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"title": "x"} | body, Sample)
    error = field_error(caught.value, Sample)
    assert (error.field, error.message) == (field, message)


def test_a_missing_field_is_required() -> None:
    assert rejected({}) == FieldError("title", "is required")


def test_the_detail_is_a_sentence_about_the_field() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(b'{"title": "x", "price": 0}', type=Sample)
    assert invalid_input(caught.value, Sample).detail == "price must be an integer from 1 to 500"


def test_a_body_of_another_type_has_an_empty_path() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(b"[]", type=Sample)
    problem = invalid_input(caught.value, Sample)
    assert problem.detail == "the body must be an object"
    assert problem.errors == [FieldError("", "must be an object")]


@pytest.mark.parametrize(
    ("price", "bound"), [(0, {"minimum": 1}), (501, {"maximum": 500}), ("1", {})]
)
def test_the_bound_that_an_integer_crosses_is_a_member_of_the_error(
    price: Any, bound: dict[str, int]
) -> None:
    error = msgspec.to_builtins(rejected({"title": "x", "price": price}))
    text = {"field": "price", "message": "must be an integer from 1 to 500"}
    assert error == text | bound


@pytest.mark.parametrize("name", ["`", "a\0", "x" * 61, "", "a b", "x` - at `$.nothing"])
def test_an_unusual_name_of_an_unknown_field_is_not_repeated(name: str) -> None:
    error = rejected({"title": "x", name: 1})
    assert error in (
        FieldError("", "has a field with an unknown name: remove it"),
        FieldError("", NOT_ACCEPTED),
    )


@pytest.mark.parametrize(
    "text",
    [
        "Expected `int`, got `str` - at `key` in `$.sizes`",
        "Expected `int`, got `str` - at `$.nothing`",
        "Expected `int`, got `str` - at `$.title[0]`",
        "Expected `int`, got `str` - at `$.seats.row`",
    ],
)
def test_an_unknown_message_becomes_a_general_text(text: str) -> None:
    assert field_error(msgspec.ValidationError(text), Sample) == FieldError("", NOT_ACCEPTED)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"price=1", b'{"title": NaN}', b'{"title": "\xff"}', b"[" * 99]
)
def test_a_body_that_is_not_json_gets_a_sentence(body: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        decode_json(body, Sample)
    problem = not_json(caught.value)
    assert (problem.status, problem.problem_code) == (400, "not_json")
    assert_plain(problem)


def test_the_position_of_a_mistake_in_json_is_named() -> None:
    with pytest.raises(Malformed) as caught:
        decode_json(b'{"title": NaN}', Sample)
    assert not_json(caught.value).detail == "the body is not valid JSON: see byte 10"


BAD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=300),
    st.sampled_from(["x" * 5_000, "2030-01-01T20:00:00", "2030-01-01", "`", "$.x` - at `$"]),
    st.lists(st.one_of(st.integers(), st.dictionaries(st.text(max_size=9), st.none()))),
    st.dictionaries(st.text(max_size=9), st.integers()),
    st.just([0] * 2_001),
)


@pytest.mark.parametrize("name", MODELS)
@given(data=st.data())
def test_no_request_gets_a_text_of_msgspec(name: str, data: st.DataObject) -> None:
    model = MODELS[name]
    for field in fields_of(model):
        value = data.draw(BAD_VALUES, label=field)
        for problem in problems_of(model, {field: value}):
            assert_plain(problem)


@pytest.mark.parametrize("name", MODELS)
def test_each_field_of_a_request_is_described(name: str) -> None:
    for field in msgspec.structs.fields(MODELS[name]):
        error = field_error(
            msgspec.ValidationError(f"Expected `x`, got `y` - at `$.{field.encode_name}`"),
            MODELS[name],
        )
        assert error.field == field.encode_name
        assert error.message.startswith("must be ")
        assert "another type" not in error.message


def fields_of(model: Any) -> Iterator[str]:
    yield from (field.encode_name for field in msgspec.structs.fields(model))
    yield "colour"


def problems_of(model: Any, body: Any) -> Iterator[Invalid]:
    """The problems of the body as JSON, and as the fields of a query."""
    required = {field.encode_name: 1 for field in msgspec.structs.fields(model) if field.required}
    for candidate in (body, required | body, {"tickets": [body]}):
        for strict in (True, False):
            try:
                msgspec.convert(candidate, model, strict=strict)
            except msgspec.ValidationError as error:
                yield invalid_input(error, model)


def assert_plain(problem: Problem) -> None:
    texts = [problem.detail or "", *(each.message for each in problem.errors or [])]
    for text in texts:
        assert "`" not in text
        assert "Expected" not in text
        assert "Invalid" not in text
        assert "Object" not in text
        assert len(text) < 200
