"""Turns msgspec's errors into problems whose texts name the field and the remedy.

The texts never come from msgspec. Its message has the path of the field, and whether the field is
missing, unknown or of the wrong size; the accepted values are read from the model. A message of
another shape becomes a general text.
"""

import functools
import re
from typing import Any

import msgspec
import msgspec.inspect as types

from backend.kernel.decoding import Malformed
from backend.kernel.problems import BadRequest, FieldError, Invalid, invalid_field
from backend.kernel.value_descriptions import bare, describe, describe_size

PATH_MARK = " - at `"
STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
MEMBER = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
# An unknown name is repeated to the client only if it could be the name of a field.
NAME = re.compile(r"[\w.-]{1,60}")
WRONG_SIZE = re.compile(r"Expected `(?:str|array)` of length ")
TOO_SMALL = "Expected `int` >= "
TOO_LARGE = "Expected `int` <= "

# To inspect a model takes longer than all else of a refusal, and there is a fixed number of models.
_type_info = functools.cache(types.type_info)

NOT_ACCEPTED = "has a value that is not accepted: see /api/docs"


def invalid_input(error: msgspec.ValidationError, model: Any) -> Invalid:
    """The problem for a value that is not of the model."""
    return invalid_field(field_error(error, model))


def field_error(error: msgspec.ValidationError, model: Any) -> FieldError:
    """The path of the rejected field, its message, and the bound that an integer crosses."""
    problem, path = _split(str(error))
    of = _type_at(_type_info(model), path)
    if of is None:
        return FieldError("", NOT_ACCEPTED)
    field = path.removeprefix("$").removeprefix(".")
    if member := MEMBER.fullmatch(problem):
        return _member_error(field, missing=member[1] == "missing required", name=member[2])
    size = describe_size(of) if WRONG_SIZE.match(problem) else ""
    message = f"must have {size}" if size else f"must be {describe(of)}"
    match bare(of):
        case types.IntType(ge=low) if problem.startswith(TOO_SMALL):
            return FieldError(field, message, minimum=low)
        case types.IntType(le=high) if problem.startswith(TOO_LARGE):
            return FieldError(field, message, maximum=high)
        case _:
            return FieldError(field, message)


def not_json(error: Malformed) -> BadRequest:
    """The problem for a body that is not JSON, or JSON beyond a bound."""
    return BadRequest(f"the body {error}", code="not_json")


def _split(text: str) -> tuple[str, str]:
    """The message without the path, and the path: `$` for the value as a whole, or '' when it is
    not one.
    """
    problem, mark, path = text.rpartition(PATH_MARK)
    if not mark:
        return text, "$"
    return problem, path.removesuffix("`") if path.startswith("$") else ""


def _member_error(parent: str, *, missing: bool, name: str) -> FieldError:
    if not NAME.fullmatch(name):
        return FieldError(parent, "has a field with an unknown name: remove it")
    field = f"{parent}.{name}" if parent else name
    if missing:
        return FieldError(field, "is required")
    return FieldError(field, "is not a field of this request: remove it")


def _type_at(of: types.Type, path: str) -> types.Type | None:
    """The type of the value at a path such as `$.tickets[1].price`, or None if there is none."""
    if not path.startswith("$"):
        return None
    for step in STEP.finditer(path):
        match bare(of):
            case types.StructType(fields=fields) if step[1]:
                found = next((each.type for each in fields if each.encode_name == step[1]), None)
            case types.ListType(item_type=item) | types.DictType(value_type=item) if not step[1]:
                found = item
            case types.TupleType(item_types=items) if step[2]:
                found = items[int(step[2])]
            case _:
                found = None
        if found is None:
            return None
        of = found
    return of
