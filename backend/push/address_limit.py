"""A bound on the connections of one address, and of all.

A place is counted for at least `seconds`, so that a client that connects and leaves again cannot
connect faster than `each` times in `seconds`.
"""

import asyncio
import sys


class Place:
    """One counted connection."""

    __slots__ = ("_address", "_limit", "_taken_at")

    def __init__(self, limit: "AddressLimit", address: str) -> None:
        self._limit: AddressLimit | None = limit
        self._address = address
        self._taken_at = asyncio.get_running_loop().time()

    def leave(self) -> None:
        """Stop counting the connection, at the earliest `seconds` after it began."""
        if self._limit is not None:
            loop = asyncio.get_running_loop()
            loop.call_at(self._taken_at + self._limit.seconds, self.release)

    def release(self) -> None:
        """Stop counting the connection now. A repeated call changes nothing."""
        limit, self._limit = self._limit, None
        if limit is not None:
            limit.give_back(self._address)


class AddressLimit:
    """At most `each` places of one address, and `total` of all addresses."""

    def __init__(self, *, each: int, total: int = sys.maxsize, seconds: float = 0) -> None:
        self.seconds = seconds
        self._each = each
        self._total = total
        self._taken: dict[str, int] = {}
        self._taken_in_all = 0

    def take(self, address: str) -> Place | None:
        """Return a place, or None when there is none left."""
        taken = self._taken.get(address, 0)
        if taken >= self._each or self._taken_in_all >= self._total:
            return None
        self._taken[address] = taken + 1
        self._taken_in_all += 1
        return Place(self, address)

    def give_back(self, address: str) -> None:
        self._taken_in_all -= 1
        self._taken[address] -= 1
        if not self._taken[address]:
            del self._taken[address]
