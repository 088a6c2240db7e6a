"""Describes in English the values that a msgspec type accepts, for error messages."""

from collections.abc import Sequence
from typing import Any

import msgspec.inspect as types


def describe(of: types.Type) -> str:
    """The values of the type as a noun phrase: `an integer from 1 to 100`."""
    match of:
        case types.Metadata(type=inner, extra_json_schema=schema):
            return describe(inner) + _example(schema or {})
        case types.UnionType(types=members):
            return _alternatives([describe(each) for each in members if not _is_null(each)])
        case types.IntType(ge=low, le=high):
            return f"an integer{_range(low, high)}"
        case types.FloatType(ge=low, le=high):
            return f"a number{_range(low, high)}"
        case types.StrType(pattern=pattern):
            return f"a text{_of_size(of)}" + (f" that matches {pattern}" if pattern else "")
        case types.ListType() | types.VarTupleType():
            return f"a list{_of_size(of)}"
        case types.LiteralType(values=values):
            return _alternatives([str(value) for value in values])
        case types.DateTimeType(tz=True):
            return "a date and time with an offset, such as 2030-12-31T20:00:00Z"
        case _:
            return _SIMPLE.get(type(of), "a value of another type")


def describe_size(of: types.Type) -> str:
    """The sizes that a text or a list may have, such as `8 to 200 characters`, or ''."""
    match bare(of):
        case types.StrType(min_length=low, max_length=high):
            return _count(low, high, "character")
        case types.ListType(min_length=low, max_length=high):
            return _count(low, high, "item")
        case _:
            return ""


def bare(of: types.Type) -> types.Type:
    """The type without its metadata, and without the null of an optional value."""
    match of:
        case types.Metadata(type=inner):
            return bare(inner)
        case types.UnionType(types=members):
            rest = [each for each in members if not _is_null(each)]
            return bare(rest[0]) if len(rest) == 1 else of
        case _:
            return of


_SIMPLE: dict[type[types.Type], str] = {
    types.BoolType: "true or false",
    types.DateTimeType: "a date and time, such as 2030-12-31T20:00:00",
    types.DateType: "a date, such as 2030-12-31",
    types.DecimalType: "a number",
    types.DictType: "an object",
    types.StructType: "an object",
    types.TupleType: "a list",
    types.UUIDType: "a UUID",
}


def _is_null(of: types.Type) -> bool:
    return isinstance(of, types.NoneType)


def _alternatives(values: Sequence[str]) -> str:
    *others, last = values
    return f"{', '.join(others)} or {last}" if others else last


def _example(schema: dict[str, Any]) -> str:
    examples = schema.get("examples")
    return f", such as {examples[0]}" if examples else ""


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    if low is not None:
        return f" of at least {_number(low)}"
    return "" if high is None else f" of at most {_number(high)}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _of_size(of: types.Type) -> str:
    size = describe_size(of)
    return f" of {size}" if size else ""


def _count(low: int | None, high: int | None, unit: str) -> str:
    if high is not None:
        limit = f"{low} to {high}" if low else f"at most {high}"
        return f"{limit} {unit}{'' if high == 1 else 's'}"
    return f"at least {low} {unit}{'' if low == 1 else 's'}" if low else ""
