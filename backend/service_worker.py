"""Composes the shop's service worker: `frontend/worker/service-worker.js` below the list of files
that it keeps, with the digest of each.

The digest of a file makes a worker reject the file of another build, also while two builds are
served at once. The version covers the worker's source, all files and their policy: when one of them
changes, browsers install another worker.
"""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping

from backend.kernel.static_files import StaticFile, static_file

MISSING = "/404"
# The browser applies it to the requests of the worker itself.
POLICY = "default-src 'none'; connect-src 'self'"
PARAMETER, ESCAPED_PARAMETER = re.compile(r"\[[^\]]+\]"), re.compile(r"\\\[[^\]]+\\\]")


def pattern_of(route: str) -> str:
    """The paths of a route such as `shows/[show_id]`, as a regular expression."""
    return "/" + ESCAPED_PARAMETER.sub("[^/]+", re.escape(route))


def service_worker(
    source: str,
    pages: Mapping[str, StaticFile],
    files: Mapping[str, StaticFile],
    dynamic: list[str],
) -> StaticFile:
    """The worker that keeps `pages` and `files`, both by their paths.

    The first of the `dynamic` routes has a page among `pages`, at `example_of(dynamic[0])`.
    """
    kept = [(path, _integrity(file)) for path, file in (*pages.items(), *files.items())]
    policies = [file.headers.get("Content-Security-Policy") for file in pages.values()]
    version = hashlib.sha256(json.dumps([source, kept, policies]).encode()).hexdigest()[:16]
    build = {
        "version": version,
        "files": kept,
        "dynamic": [pattern_of(route) for route in dynamic],
        "fallback": example_of(dynamic[0]),
        "missing": MISSING,
    }
    content = f"const BUILD = {json.dumps(build)};\n{source}".encode()
    worker = static_file(content, "text/javascript")
    return worker._replace(headers={**worker.headers, "Content-Security-Policy": POLICY})


def example_of(route: str) -> str:
    """A path of a dynamic route: its pages share a file, which reads its address in the browser."""
    return "/" + PARAMETER.sub("_", route)


def _integrity(file: StaticFile) -> str:
    return f"sha256-{b64encode(hashlib.sha256(file.content).digest()).decode()}"
