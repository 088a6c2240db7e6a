"""Replies whose content does not change while the process runs: compressed once, with an ETag."""

import gzip
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATED = "no-cache"


class StaticFile(NamedTuple):
    """`compressed` is the content by gzip, or None when it is sent as it is."""

    content: bytes
    compressed: bytes | None
    headers: Mapping[str, str]

    def response(self, request: Request, status: int = 200) -> Response:
        """The content, or 304 without one when the client has it."""
        if status == 200 and request.headers.get("if-none-match") == self.headers["ETag"]:
            return Response(status_code=304, headers=self.headers)
        if self.compressed is None or "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(self.content, status, self.headers)
        return Response(self.compressed, status, {**self.headers, "Content-Encoding": "gzip"})


def headers_of(content: bytes, media_type: str, *, cached: str = REVALIDATED) -> dict[str, str]:
    """The headers of a file: its type, how long caches keep it, its digest as ETag."""
    return {
        "Content-Type": f"{media_type}; charset=utf-8"
        if media_type.startswith("text/")
        else media_type,
        "Cache-Control": cached,
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:20]}"',
        "Vary": "Accept-Encoding",
    }


def static_file(content: bytes, media_type: str) -> StaticFile:
    """A file that clients revalidate, compressed here."""
    return StaticFile(content, gzip.compress(content), headers_of(content, media_type))
