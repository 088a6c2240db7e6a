"""Values: those of a JSON schema, and those that no route expects."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

Json = dict[str, Any]

# Replaced by raw text after the encoding, since no encoder would write it.
RAW = {
    "@deep": "[" * 3_000,
    "@balanced": "[" * 900 + "]" * 900,
    "@objects": '{"a":' * 700 + "1" + "}" * 700,
    "@wide": "[" + "[]," * 12_000 + "[]]",
    "@digits": "1" * 5_000,
    "@exponent": "1e999999999",
    "@surrogate": '"\\ud800"',
    "@escape": '"\\u0000"',
    "@control": '"\x01"',
    "@nan": "NaN",
    "@comment": "/**/1",
}
ODD: Sequence[Any] = (
    *RAW,
    None,
    True,
    "",
    " ",
    "\x00",
    "\u202e\u200b\ufeff",
    "é" * 300,
    "x" * 20_000,
    "=cmd|' /C calc'!A0",
    "'; drop table tickets.shows; --",
    "../../etc/passwd",
    "%00%ff",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "null",
    -1,
    0,
    2**31,
    2**63,
    -(2**63) - 1,
    10**40,
    1.5,
    -0.0,
    1e308,
    [],
    {},
    [[]],
    {"": {"": ""}},
    ["x"] * 600,
)


class Values:
    """Random values from one seed. `ids` are those of rows that exist."""

    def __init__(self, rng: random.Random, schemas: Mapping[str, Json], ids: Sequence[str]) -> None:
        self.rng = rng
        self._schemas = schemas
        self._ids = ids

    def of(self, schema: Json) -> Any:
        """A value that the schema describes."""
        if "$ref" in schema:
            return self.of(self._schemas[schema["$ref"].rpartition("/")[2]])
        if choices := schema.get("anyOf") or schema.get("oneOf"):
            return self.of(self.rng.choice(choices))
        if "enum" in schema:
            return self.rng.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                required = schema.get("required", ())
                return {
                    name: self.of(member)
                    for name, member in schema.get("properties", {}).items()
                    if name in required or self.rng.random() < 0.5
                }
            case "array":
                size = schema.get("minItems", 0) + self.rng.randrange(3)
                return [self.of(schema.get("items", {})) for _ in range(size)]
            case "integer":
                return self.rng.randint(schema.get("minimum", 0), schema.get("maximum", 10_000))
            case "boolean":
                return self.rng.random() < 0.5
            case "string":
                return self._text(schema)
        return None

    def id(self) -> str:
        return self.rng.choice(self._ids)

    def odd(self) -> Any:
        return self.rng.choice(ODD)

    def odd_text(self) -> str:
        return str(self.odd())

    def altered(self, value: Any) -> Any:
        """The value with one to three changes anywhere in it."""
        for _ in range(self.rng.randint(1, 3)):
            value = self._altered_once(value)
        return value

    def noise(self, text: bytes) -> bytes:
        """The bytes with some changed, removed, repeated or inserted."""
        for _ in range(self.rng.randint(1, 4)):
            at = self.rng.randrange(len(text) + 1)
            piece = self.rng.randbytes(self.rng.randint(1, 4))
            text = self.rng.choice(
                (
                    text[:at] + piece + text[at:],
                    text[:at] + piece + text[at + len(piece) :],
                    text[:at],
                    text[:at] + text[at + 1 :],
                    text[:at] + text,
                    b"\xef\xbb\xbf" + text,
                )
            )
        return text

    def _text(self, schema: Json) -> str:
        match schema.get("format"):
            case "uuid":
                return (
                    self.id()
                    if self.rng.random() < 0.7
                    else str(UUID(int=self.rng.getrandbits(128)))
                )
            case "date-time":
                return f"20{self.rng.randint(27, 60)}-0{self.rng.randint(1, 9)}-12T20:00:00+02:00"
        if schema.get("examples"):
            return str(self.rng.choice(schema["examples"]))
        size = self.rng.randint(schema.get("minLength", 0), min(schema.get("maxLength", 20), 40))
        return "".join(self.rng.choice("abcdeé @=-.,;") for _ in range(size))

    def _altered_once(self, value: Any) -> Any:
        if isinstance(value, dict) and value and self.rng.random() < 0.9:
            name = self.rng.choice(list(value))
            match self.rng.randrange(4):
                case 0:
                    return {key: item for key, item in value.items() if key != name}
                case 1:
                    return value | {
                        self.rng.choice((self.odd_text(), name + "x", "id")): self.odd()
                    }
                case _:
                    return value | {name: self._altered_once(value[name])}
        if isinstance(value, list) and value and self.rng.random() < 0.7:
            at = self.rng.randrange(len(value))
            return [*value[:at], self._altered_once(value[at]), *value[at:]]
        return self.odd()


def encode(value: Any) -> bytes:
    """The JSON of a value, with the raw texts in their places."""
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text.encode("utf-8", "surrogatepass")
