"""The transitions of channels and presence members over all gateways, for one reader.

The script that changes the state in Redis appends each transition in the same step, so each is
there once, whichever gateway caused it. A reader takes them from the stream `FACTS` with a consumer
group. When Redis lost its last second of data, a fact of that second may be repeated.

The stream has the newest MAX_FACTS entries, and none while `record_facts` of the settings is off.
"""

from collections.abc import Mapping
from typing import Final, Literal, cast, get_args

import msgspec

from backend.push.cluster_script import FACTS, MAX_FACTS

__all__ = ["FACTS", "MAX_FACTS", "NAMES", "Fact", "FactName", "read_fact"]

FactName = Literal[
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "subscription_count",
    "cache_miss",
]
NAMES: Final = get_args(FactName)


class Fact(msgspec.Struct, frozen=True):
    """A transition. `id` is the entry's id in the stream, which begins with Unix time in ms.

    Facts of members have a `user_id`, and `subscription_count` has a `count`.
    """

    id: str
    name: FactName
    channel: str
    user_id: str | None = None
    count: int | None = None

    @property
    def at_ms(self) -> int:
        return int(self.id.partition("-")[0])


def read_fact(id: bytes, fields: Mapping[bytes, bytes]) -> Fact:
    """Return the fact of a stream entry. Raises ValueError if the entry is malformed."""
    text = {key.decode(): value.decode() for key, value in fields.items()}
    if text.get("name") not in NAMES or "channel" not in text:
        raise ValueError(f"these are not the fields of a fact: {sorted(text)}")
    count = text.get("count")
    return Fact(
        id.decode(),
        cast(FactName, text["name"]),
        text["channel"],
        text.get("user_id"),
        int(count) if count is not None else None,
    )
