"""Serves the built pages of the shop, on the port of the API.

A build is a few dozen small files, so all are read into memory once. File names under /assets
contain a digest, so browsers cache these files forever and revalidate the pages. `/shop.json` has
the settings of this installation. The content security policy allows this origin, the push
gateway, and the card form: Stripe when there is a publishable key, else a frame of the sandbox.
Navigation stays in one document, so all pages share one policy. The service worker, which keeps the
pages for the time without a server, has a policy of its own.
"""

import hashlib
import json
import mimetypes
import re
from base64 import b64encode
from pathlib import Path

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from backend.kernel.settings import Settings
from backend.kernel.static_files import IMMUTABLE, REVALIDATED, StaticFile, headers_of
from backend.kernel.web import reply
from backend.service_worker import example_of, pattern_of, service_worker

FALLBACK, MISSING, ROUTES = "__spa-fallback.html", "404.html", "routes.json"
WORKER = "service-worker.js"
# The worker keeps no fonts: a page uses few of them, and the browser keeps those that it used.
FONT = ".woff2"
INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)


# Independent of the MIME types that the machine has configured.
TYPES = mimetypes.MimeTypes(filenames=())
TYPES.add_type("text/javascript", ".js")
TYPES.add_type("font/woff2", ".woff2")

# https://docs.stripe.com/security/guide#content-security-policy
STRIPE_JS = "https://js.stripe.com https://*.js.stripe.com"


class PageConvertor(Convertor[str]):
    """Any path outside /api; the API itself answers unknown paths below it."""

    regex = r"(?!api(?:/|$)).*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("page", PageConvertor())


class Shop:
    """Finds the file of a path. Routes with a parameter share one page, which reads its address
    in the browser.
    """

    def __init__(self, folder: Path, policy: str) -> None:
        self._files = {
            "/" + path.relative_to(folder).as_posix(): _read(path, folder, policy)
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".gz" and path.name not in {ROUTES, WORKER}
        }
        routes: list[str] = json.loads((folder / ROUTES).read_text())
        dynamic = [route for route in routes if "[" in route]
        self._dynamic = [re.compile(pattern_of(route)) for route in dynamic]
        self._files[f"/{WORKER}"] = self._worker((folder / WORKER).read_text(), routes, dynamic)

    async def __call__(self, request: Request) -> Response:
        path = "/" + str(request.path_params["path"])
        file, status = self._find(path)
        return file.response(request, status)

    def _worker(self, source: str, routes: list[str], dynamic: list[str]) -> StaticFile:
        static = ["/" if route == "index" else f"/{route}" for route in routes if "[" not in route]
        paths = dict.fromkeys([*static, example_of(dynamic[0]), f"/{Path(MISSING).stem}"])
        pages = {path: self._find(path)[0] for path in paths}
        others = {
            path: file for path, file in self._files.items() if not path.endswith((".html", FONT))
        }
        return service_worker(source, pages, others, dynamic)

    def _find(self, path: str) -> tuple[StaticFile, int]:
        plain = path.rstrip("/") or "/index"
        for name in (path, f"{plain}.html", f"{plain}/index.html"):
            if name in self._files and name != f"/{FALLBACK}":
                return self._files[name], 200
        if any(route.fullmatch(plain) for route in self._dynamic):
            return self._files[f"/{FALLBACK}"], 200
        return self._files[f"/{MISSING}"], 404


def routes(folder: Path, settings: Settings) -> list[BaseRoute]:
    """The routes of the shop. They match every other path, so they must be the last routes of an
    application.
    """
    shop_settings = {
        "hold_seconds": settings.hold_seconds,
        "fee_percent": float(settings.fee_percent),
        "payment_grace_seconds": settings.payment_grace_seconds,
        "refund_window_seconds": settings.refund_window_seconds,
        "max_tickets_per_order": settings.max_tickets_per_order,
        "stripe": {
            "publishable_key": settings.stripe_publishable_key,
            "sandbox_url": settings.stripe_sandbox_url,
        },
        "session_seconds": settings.jwt_access_seconds,
        "push": {
            "key": settings.pusher_key,
            "host": settings.pusher_address,
            "port": settings.pusher_port,
            "tls": settings.pusher_tls,
            "cluster": settings.pusher_cluster,
        },
    }

    async def shop_json(_request: Request) -> Response:
        return reply(shop_settings, headers={"Cache-Control": REVALIDATED})

    shop = Shop(folder, _policy(settings))

    async def page(request: Request) -> Response:
        return await shop(request)

    return [
        Route("/shop.json", shop_json, include_in_schema=False),
        Route("/{path:page}", page, include_in_schema=False),
    ]


def _policy(settings: Settings) -> str:
    """The policy; `script-src` is last, so that the digests of a page's inline scripts can be
    appended.
    """
    scheme = "wss" if settings.pusher_tls else "ws"
    gateway = f"{scheme}://{settings.pusher_address}:{settings.pusher_port}"
    if settings.stripe_publishable_key:
        connect, frame, script = (
            " https://api.stripe.com",
            f"{STRIPE_JS} https://hooks.stripe.com",
            f" {STRIPE_JS}",
        )
    else:
        connect, frame, script = "", settings.stripe_sandbox_url or "'none'", ""
    return (
        f"default-src 'self'; connect-src 'self' {gateway}{connect}; img-src 'self' data:; "
        f"style-src 'self' 'unsafe-inline'; font-src 'self'; frame-src {frame}; "
        "frame-ancestors 'none'; "
        f"base-uri 'none'; form-action 'self'; object-src 'none'; worker-src 'self'; "
        f"script-src 'self'{script}"
    )


def _read(path: Path, folder: Path, policy: str) -> StaticFile:
    """A file of the build, with its content by gzip if the build has it."""
    content = path.read_bytes()
    compressed = path.with_name(path.name + ".gz")
    media_type = TYPES.guess_type(path.name)[0] or "application/octet-stream"
    hashed = path.relative_to(folder).parts[0] == "assets"
    headers = headers_of(content, media_type, cached=IMMUTABLE if hashed else REVALIDATED)
    if path.suffix == ".html":
        headers["Content-Security-Policy"] = f"{policy}{_inline_scripts(content)}"
    return StaticFile(content, compressed.read_bytes() if compressed.exists() else None, headers)


def _inline_scripts(page: bytes) -> str:
    """The digests of a page's inline scripts; the policy blocks every other inline script."""
    return "".join(
        f" 'sha256-{b64encode(hashlib.sha256(script).digest()).decode()}'"
        for script in INLINE_SCRIPT.findall(page)
    )
