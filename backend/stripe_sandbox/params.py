"""Stripe's form encoding, parsed with Stripe's error texts.

`metadata[order_id]=o1&expand[0]=latest_charge` becomes a tree. An operation takes the parameters
that it supports by name, and `finish()` refuses the others. Every error raised here is
`InvalidParams`: the request never began to execute.
"""

import re
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from backend.stripe_sandbox.errors import InvalidParams

Tree: TypeAlias = dict[str, Any]

_MAX_FIELDS = 500
_MAX_DEPTH = 5
_MAX_TEXT = 5_000
_MAX_METADATA_KEYS = 50
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_TRUE, _FALSE = "true", "false"


def parse(encoded: bytes) -> Tree:
    try:
        pairs = parse_qsl(encoded.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise InvalidParams("Invalid request: the body is not a valid form.") from error
    tree: Tree = {}
    for key, value in pairs:
        _plant(tree, key, value)
    return tree


class Params:
    def __init__(self, tree: Tree, prefix: str = "") -> None:
        self._tree = tree
        self._prefix = prefix
        self._taken: set[str] = set()

    def text(self, name: str) -> str | None:
        """Read a string. An empty string unsets the field, as null does in JSON."""
        value = self._take(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise InvalidParams("Invalid string", param=self._path(name))
        if len(value) > _MAX_TEXT:
            raise InvalidParams(
                f"Invalid string: must be at most {_MAX_TEXT} characters",
                code="parameter_invalid_string_blank",
                param=self._path(name),
            )
        return value

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise InvalidParams(
                f"Missing required param: {self._path(name)}.",
                code="parameter_missing",
                param=self._path(name),
            )
        return value

    def integer(self, name: str, *, at_least: int = 0) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        wrong = {"code": "parameter_invalid_integer", "param": self._path(name)}
        if not re.fullmatch(r"-?[0-9]{1,15}", value):
            raise InvalidParams(f"Invalid integer: {value[:50]}", **wrong)
        if int(value) < at_least:
            raise InvalidParams(f"This value must be greater than or equal to {at_least}.", **wrong)
        return int(value)

    def flag(self, name: str) -> bool | None:
        value = self.choice(name, _TRUE, _FALSE)
        return None if value is None else value == _TRUE

    def choice(self, name: str, *options: str) -> str | None:
        value = self.text(name)
        if value is not None and value not in options:
            raise InvalidParams(
                f"Invalid {self._path(name)}: must be one of {', '.join(options[:-1])}, or "
                f"{options[-1]}",
                param=self._path(name),
            )
        return value

    def texts(self, name: str) -> list[str]:
        value = self._take(name)
        if value is None or value == "":
            return []
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise InvalidParams("Invalid array", param=self._path(name))
        return list(value.values())

    def group(self, name: str) -> "Params | None":
        value = self._take(name)
        if value is None or value == "":
            return None
        if not isinstance(value, dict):
            raise InvalidParams("Invalid object", param=self._path(name))
        return Params(value, self._path(name))

    def metadata(self) -> dict[str, str] | None:
        """Read the keys to merge. An empty value drops its key, an empty `metadata` drops all."""
        value = self._take("metadata")
        if value is None:
            return None
        if value == "":
            return {"": ""}
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise InvalidParams("Invalid object", param="metadata")
        if len(value) > _MAX_METADATA_KEYS:
            raise InvalidParams("You cannot have more than 50 metadata keys.", param="metadata")
        if any(len(key) > 40 or len(text) > 500 for key, text in value.items()):
            raise InvalidParams(
                "Metadata keys take up to 40 characters, values up to 500.", param="metadata"
            )
        return dict(value)

    def names(self) -> frozenset[str]:
        return frozenset(self._tree)

    def ignore(self, *names: str) -> None:
        """Accept parameters of Stripe's that have no effect here."""
        self._taken.update(names)

    def finish(self) -> None:
        unknown = [self._path(name) for name in self._tree if name not in self._taken]
        if unknown:
            word = "parameter" if len(unknown) == 1 else "parameters"
            raise InvalidParams(
                f"Received unknown {word}: {', '.join(unknown)}",
                code="parameter_unknown",
                param=unknown[0],
            )

    def _take(self, name: str) -> Any:
        self._taken.add(name)
        return self._tree.get(name)

    def _path(self, name: str) -> str:
        return f"{self._prefix}[{name}]" if self._prefix else name


def _plant(tree: Tree, key: str, value: str) -> None:
    match = _KEY.fullmatch(key)
    parts = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])] if match else []
    if not parts or len(parts) > _MAX_DEPTH:
        raise InvalidParams("Invalid request: a parameter's name is malformed.", param=key[:100])
    for part in parts[:-1]:
        branch = tree.setdefault(part or str(len(tree)), {})
        if not isinstance(branch, dict):
            raise InvalidParams("Invalid object", param=key[:100])
        tree = branch
    tree[parts[-1] or str(len(tree))] = value
