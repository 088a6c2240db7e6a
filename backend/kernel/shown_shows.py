"""The places and times of shows as a page showed them, in a request that costs money or time.

An order or a payment that names other ones than the present is refused, so that nobody buys a
ticket for an evening that was moved meanwhile.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Protocol, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(max_length=200)]


class ShownShow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    venue: Text
    city: Text
    starts_at: Annotated[datetime, Meta(tz=True)]
    timezone: Text


ShownShows = Annotated[dict[UUID, ShownShow], Meta(max_length=100)]


class PresentShow(Protocol):
    @property
    def venue(self) -> str: ...
    @property
    def city(self) -> str: ...
    @property
    def starts_at(self) -> datetime: ...
    @property
    def timezone(self) -> str: ...


Present = TypeVar("Present", bound=PresentShow)


def moved(shown: Mapping[UUID, ShownShow], present: Mapping[UUID, Present]) -> dict[UUID, Present]:
    """The present shows that the page did not show, or showed with another place or time."""
    return {
        show_id: show
        for show_id, show in present.items()
        if shown.get(show_id) != ShownShow(show.venue, show.city, show.starts_at, show.timezone)
    }
