"""Random HTTP requests: valid ones of every route, altered in their parts, or broken as bytes."""

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote, urlencode

from backend.push import signature
from backend.stripe_sandbox.webhooks import sign
from tests.bad_input.definitions import WRITES
from tests.fuzz.values import Json, Values, encode
from tests.system import PUSHER_KEY, PUSHER_SECRET, WEBHOOK_SECRET

Headers = list[tuple[bytes, bytes]]

# The valid bodies of the lists of bad requests, by the routes that take them.
TEMPLATES = {
    (method, re.sub(r"\{\w+\}", "{id}", path)): body for method, path, body in WRITES.values()
}

EVENT: Json = {
    "id": "evt_1",
    "type": "payment_intent.created",
    "data": {"object": {"object": "payment_intent", "id": "pi_1", "payment_intent": "pi_2"}},
}
TRIGGER: Json = {"name": "n", "data": "{}", "channels": ["show-1"], "info": "subscription_count"}
PUSHER_ROUTES: Sequence[tuple[str, str, Json | None]] = (
    ("POST", "/apps/1/events", TRIGGER),
    ("POST", "/apps/1/batch_events", {"batch": [{"name": "n", "data": "x", "channel": "show-1"}]}),
    ("GET", "/apps/1/channels", None),
    ("GET", "/apps/1/channels/show-1", None),
    ("GET", "/apps/1/channels/presence-show-1/users", None),
    ("POST", "/apps/1/users/1/terminate_connections", {}),
    ("POST", "/users/1/terminate_connections", {}),
)
PAGES = ("/healthz", "/readyz", "/metrics", "/api/openapi.json", "/", "/nowhere")


class Sent(NamedTuple):
    """One request as bytes. One that is `broken` may get a closed connection as its reply."""

    name: str
    data: bytes
    broken: bool = False


class Requests:
    """Requests of an OpenAPI document's routes, and of the publish API.

    `tokens` are access tokens of users, `ids` those of a show, a ticket and an order, and `origin`
    is that of the shop's pages.
    """

    def __init__(
        self,
        values: Values,
        document: Json,
        *,
        tokens: Sequence[str],
        ids: Mapping[str, str],
        origin: str,
    ) -> None:
        self._values = values
        self._ids = ids
        self._origin = origin.encode()
        self._rng = values.rng
        self._tokens = tokens
        self._routes = [
            (method.upper(), path, operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
        ]

    def next(self) -> tuple[str, Sent]:
        """The service, `api` or `push`, and a request for it."""
        if self._rng.random() < 0.15:
            return "push", self._finished(*self._publish())
        method, path, operation = self._rng.choice(self._routes)
        headers = self._session()
        target = path.replace("{id}", self._path_id())
        body: bytes | None = None
        if path == "/api/payments/webhook":
            body, more = self._webhook()
            headers += more
        elif content := operation.get("requestBody", {}).get("content"):
            [(media_type, form)] = content.items()
            valid = TEMPLATES.get((method, path))
            value = valid if valid and not self._one_in(3) else self._values.of(form["schema"])
            body = self._body(media_type, value)
            for row, row_id in self._ids.items():
                body = body.replace(f"{{{row}}}".encode(), row_id.encode())
            headers.append((b"Content-Type", media_type.encode()))
        elif self._one_in(40):
            target = self._rng.choice(PAGES)
        target += self._query([each for each in operation["parameters"] if each["in"] == "query"])
        return "api", self._finished(f"{method} {path}", method, target, headers, body)

    def _finished(
        self, name: str, method: str, target: str, headers: Headers, body: bytes | None
    ) -> Sent:
        """The bytes of the request, perhaps with odd headers or broken as a whole."""
        for _ in range(self._rng.choice((0, 0, 0, 1, 2))):
            headers = self._odd_header(headers)
        if self._one_in(30):
            method = self._rng.choice(("PATCH", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
        lines = [b"%b %b HTTP/1.1" % (method.encode(), target.encode("utf-8", "surrogatepass"))]
        lines += [b"%b: %b" % header for header in [(b"Host", b"localhost"), *headers]]
        if body is not None and self._one_in(10):
            head = b"\r\n".join([*lines, b"Transfer-Encoding: chunked"])
            return Sent(name, head + b"\r\n\r\n" + self._chunked(body))
        if body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        data = b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")
        if self._one_in(20):
            return Sent(name, self._values.noise(data), broken=True)
        return Sent(name, data)

    def _session(self) -> Headers:
        token = self._rng.choice(self._tokens).encode()
        return self._rng.choice(
            (
                [(b"Authorization", b"Bearer " + token)],
                [(b"Authorization", b"Bearer " + token)],
                [(b"Cookie", b"gittix_session=" + token), (b"Origin", self._origin)],
                [(b"Cookie", b"gittix_session=" + token + b"; gittix_refresh=x")],
                [],
            )
        )

    def _body(self, media_type: str, value: Json) -> bytes:
        if self._one_in(2):
            value = self._values.altered(value)
        if media_type != "application/json" and isinstance(value, dict):
            body = urlencode(value, errors="surrogatepass").encode()
        else:
            body = encode(value)
        return self._values.noise(body) if self._one_in(4) else body

    def _webhook(self) -> tuple[bytes, Headers]:
        """An altered event, and its signature by Stripe's secret."""
        body = self._body("application/json", EVENT | {"id": f"evt_{self._rng.random()}"})
        signed = sign(body, WEBHOOK_SECRET, int(time.time()))
        return body, [(b"Stripe-Signature", signed.encode())]

    def _publish(self) -> tuple[str, str, str, Headers, bytes | None]:
        """An altered request of the publish API with its signature, or without."""
        method, path, value = self._rng.choice(PUSHER_ROUTES)
        body = None if value is None else self._body("application/json", value)
        name = f"{method} {path}"
        if self._one_in(10):
            path = quote(path.replace("show-1", self._values.odd_text()[:300]), errors="replace")
        query = {
            "auth_key": PUSHER_KEY,
            "auth_timestamp": str(int(time.time())),
            "auth_version": "1.0",
            "body_md5": hashlib.md5(body or b"").hexdigest(),
        }
        if self._one_in(4):
            query["info"] = self._values.odd_text()[:200]
        text = signature.request_text(method, path, query.items())
        query["auth_signature"] = signature.sign(PUSHER_SECRET, text)
        if self._one_in(4):
            query[self._rng.choice(list(query))] = self._values.odd_text()[:200]
        target = f"{path}?{urlencode(query, errors='replace')}"
        return name, method, target + self._many_or_raw("&"), [], body

    def _path_id(self) -> str:
        if self._one_in(4):
            return quote(self._values.odd_text()[:500], safe="%", errors="surrogatepass")
        return self._values.id()

    def _query(self, parameters: Sequence[Json]) -> str:
        pairs = [
            (
                each["name"],
                self._values.odd() if self._one_in(3) else self._values.of(each["schema"]),
            )
            for each in parameters
            if self._one_in(3)
        ]
        text = "?" + urlencode(
            [(name, str(value)[:2_000]) for name, value in pairs], errors="surrogatepass"
        )
        return text + self._many_or_raw("&")

    def _many_or_raw(self, separator: str) -> str:
        """Nothing, or text that no query string should have."""
        if not self._one_in(10):
            return ""
        return separator + self._rng.choice(
            (
                "a=1&" * 70,
                "a=%ff",
                "%",
                "a=é",
                "&&&=&",
                ";a=b",
                "a=" + "x" * 9_000,
                "a[b][c]=1",
                "#a",
            )
        )

    def _odd_header(self, headers: Headers) -> Headers:
        odd = self._rng.choice(ODD_HEADERS)(self._values)
        kept = [each for each in headers if self._one_in(2) or each[0] != odd[0]]
        return [*kept, odd]

    def _chunked(self, body: bytes) -> bytes:
        size = self._rng.randint(1, len(body) + 1)
        chunks = [body[at : at + size] for at in range(0, len(body), size)][:50]
        return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"

    def _one_in(self, number: int) -> bool:
        return self._rng.randrange(number) == 0


def _line(text: str) -> bytes:
    """The text as a header's value: in UTF-8, and on one line."""
    return text.encode("utf-8", "surrogatepass").translate(None, b"\r\n\x00")[:4_000]


CONTENT_TYPES = (
    b"text/plain",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data",
    b"multipart/form-data; boundary=x; charset=undefined",
    b"application/json; charset=utf-16",
    b"\xff",
    b";",
)
ODD_HEADERS: Sequence[Callable[[Values], tuple[bytes, bytes]]] = (
    lambda v: (b"Authorization", _line("Bearer " + v.odd_text())),
    lambda v: (
        b"Authorization",
        b"Bearer " + v.noise(b"eyJhbGciOiJFZERTQSJ9.e30.AA").translate(None, b"\r\n\x00"),
    ),
    lambda v: (b"Authorization", b"Basic eDp5"),
    lambda v: (b"Cookie", _line("gittix_session=" + v.odd_text())),
    lambda v: (b"Cookie", v.rng.randbytes(60).translate(None, b"\r\n\x00")),
    lambda v: (b"Cookie", b"a=1; " * 500),
    lambda v: (b"Idempotency-Key", _line(v.odd_text())),
    lambda v: (b"Idempotency-Key", b"same"),
    lambda v: (b"If-Match", _line(v.odd_text())),
    lambda v: (b"If-Match", b'W/"1"'),
    lambda v: (b"X-Request-Id", _line(v.odd_text())),
    lambda v: (b"X-Forwarded-For", _line(v.odd_text())),
    lambda v: (b"User-Agent", _line(v.odd_text())),
    lambda v: (b"Origin", _line(v.odd_text())),
    lambda v: (b"Host", v.rng.choice((b"[::", b"\xff", b"", b"x:99999999", b"a b"))),
    lambda v: (b"Content-Type", v.rng.choice(CONTENT_TYPES)),
    lambda v: (b"Stripe-Signature", _line(v.odd_text())),
    lambda v: (b"Stripe-Signature", b"t=" + b"1" * 5_000 + b",v1=00"),
    lambda v: (b"Accept-Encoding", _line(v.odd_text())),
    lambda v: (b"If-None-Match", _line(v.odd_text())),
    lambda v: (b"Range", b"bytes=9-1"),
    lambda v: (b"Expect", b"100-continue"),
    lambda v: (b"Upgrade", b"websocket"),
    lambda v: (b"X-" + b"a" * 900, v.rng.randbytes(300).translate(None, b"\r\n\x00")),
)
