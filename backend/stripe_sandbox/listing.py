"""Pages of objects, and the expansion of ids into their objects."""

from typing import Any

from backend.stripe_sandbox.errors import InvalidParams
from backend.stripe_sandbox.params import Params
from backend.stripe_sandbox.queries import Book, Document, shown

_MOST = 100
_OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_EXPANDABLE = {
    "charge": "charge",
    "latest_charge": "charge",
    "payment_intent": "payment_intent",
    "payment_method": "payment_method",
}


def read_page(
    book: Book,
    params: Params,
    object: str,
    url: str,
    *,
    parent: str | None = None,
    labels: list[str] | None = None,
) -> Document:
    limit = params.integer("limit", at_least=1) or 10
    if limit > _MOST:
        raise InvalidParams(
            f"This value must be less than or equal to {_MOST}.",
            code="parameter_invalid_integer",
            param="limit",
        )
    created = _read_created(params)
    after, before = params.text("starting_after"), params.text("ending_before")
    params.finish()
    if after and before:
        raise InvalidParams(
            "You can only provide one of starting_after and ending_before.", param="ending_before"
        )
    for name, cursor in (("starting_after", after), ("ending_before", before)):
        if cursor:
            book.get(object, cursor, param=name)
    page, more = book.page(
        object, limit, parent=parent, labels=labels, created=created, after=after, before=before
    )
    return {"object": "list", "data": [shown(one) for one in page], "has_more": more, "url": url}


def expand(book: Book, document: Document, paths: list[str]) -> Document:
    """Replace ids by their objects: `latest_charge`, `data.latest_charge` in a list, at most four
    deep.
    """
    for path in paths:
        parts = path.split(".")
        if len(parts) > 4:
            raise InvalidParams(
                "You cannot expand more than 4 levels of a property", param="expand"
            )
        _expand(book, document, parts, path)
    return document


def _expand(book: Book, node: Any, parts: list[str], path: str) -> None:
    if isinstance(node, list):
        for one in node:
            _expand(book, one, parts, path)
        return
    name, *rest = parts
    if (
        not isinstance(node, dict)
        or (name not in _EXPANDABLE and name != "data")
        or name not in node
    ):
        raise InvalidParams(f"This property cannot be expanded ({path}).", param="expand")
    if isinstance(node[name], str):
        node[name] = shown(book.get(_EXPANDABLE[name], node[name]))
    if rest and node[name] is not None:
        _expand(book, node[name], rest, path)


def _read_created(params: Params) -> dict[str, int]:
    try:
        span = params.group("created")
    except InvalidParams:
        exact = params.integer("created")
        return {} if exact is None else {"=": exact}
    if span is None:
        return {}
    bounds = {sign: span.integer(name) for name, sign in _OPERATORS.items()}
    span.finish()
    return {sign: moment for sign, moment in bounds.items() if moment is not None}
