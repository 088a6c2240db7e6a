"""The number of the database in a URL of Redis."""

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

UNIX: Final = "unix"
_DB: Final = re.compile(r"(?:^|&)db=([0-9]+)")


def redis_database(url: str) -> int:
    """The number of the database, 0 by default. Raises ValueError for one that is no number."""
    parts = urlsplit(url)
    if parts.scheme == UNIX:
        found = _DB.search(parts.query)
        return int(found[1]) if found else 0
    return int(parts.path.strip("/") or 0)


def with_redis_database(url: str, database: int) -> str:
    """The URL with the number of another database."""
    parts = urlsplit(url)
    if parts.scheme != UNIX:
        return urlunsplit(parts._replace(path=f"/{database}"))
    others = _DB.sub("", parts.query).strip("&")
    # `urlunsplit` would leave the slashes out.
    query = f"{others}&db={database}".strip("&")
    return f"{UNIX}://{parts.netloc}{parts.path}?{query}"
