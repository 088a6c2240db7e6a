"""Pages of a list. The cursor is the sort key of a page's last row: every page costs the same."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

import msgspec

from backend.kernel.decoding import decode_json
from backend.kernel.problems import invalid

T = TypeVar("T")
Key = TypeVar("Key")

Limit = Annotated[int, msgspec.Meta(ge=1, le=100)]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """`next_cursor` is null on the last page."""

    items: list[T]
    next_cursor: str | None


def encode_cursor(key: object) -> str:
    return urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def decode_cursor(cursor: str | None, key: type[Key]) -> Key | None:
    """The key of a cursor that `encode_cursor` returned. Raises Invalid for any other text."""
    if not cursor:
        return None
    try:
        return decode_json(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), key)
    except (msgspec.MsgspecError, ValueError) as error:
        raise invalid(
            "cursor", "must be the next_cursor of an earlier page of this list"
        ) from error


def page_of(rows: Sequence[T], limit: int, key: Callable[[T], object]) -> Page[T]:
    """The first `limit` rows as a page. The caller reads one row more: it proves a next page."""
    more = len(rows) > limit
    items = list(rows[:limit])
    return Page(items, encode_cursor(key(items[-1])) if more and items else None)
