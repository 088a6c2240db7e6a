"""Ids made here rather than by the database: UUIDv7 of RFC 9562, so that an index grows at its end."""

import secrets
import time
from uuid import UUID


def new_id() -> UUID:
    """48 bits of Unix milliseconds, then version, 12 random bits, variant, 62 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    return UUID(
        int=(milliseconds & (2**48 - 1)) << 80
        | 7 << 76
        | (random >> 62) << 64
        | 2 << 62
        | random & (2**62 - 1)
    )
