"""Limits the writes of one caller per minute, in each process.

The limit keeps a runaway script from exhausting the service. Limits over all processes, against
password guessing, are counted in Redis by auth. The counter is a dictionary that is cleared each
minute: the `limits` library iterates over all keys at each hit in memory, or needs a round trip
to Redis.
"""

import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.kernel.client_address import Network, client_ip, network_of
from backend.kernel.principal import SESSION_COOKIE
from backend.kernel.problems import TooMany

WINDOW_SECONDS = 60
# A bound on memory: so many callers in one minute are an attack, and all counts start again.
MAX_CALLERS = 100_000
READS = frozenset({"GET", "HEAD", "OPTIONS"})


class WriteLimit:
    """Pure ASGI middleware: answers 429 with Retry-After after `per_minute` writes of one
    session, or of one address without a session. `unlimited` are paths of webhooks.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        per_minute: int,
        proxies: Sequence[Network],
        unlimited: frozenset[str] = frozenset(),
    ) -> None:
        self.app = app
        self.per_minute = per_minute
        self.proxies = proxies
        self.unlimited = unlimited
        self._window = 0
        self._writes: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] not in READS
            and scope["path"] not in self.unlimited
        ):
            now = time.monotonic()
            if not self._admits(self._caller(Request(scope)), now):
                wait = WINDOW_SECONDS - int(now) % WINDOW_SECONDS
                refusal = TooMany(
                    "too many writes in this minute; try again later",
                    headers={"Retry-After": str(wait)},
                ).response()
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _admits(self, caller: str, now: float) -> bool:
        window = int(now) // WINDOW_SECONDS
        if window != self._window or len(self._writes) > MAX_CALLERS:
            self._window = window
            self._writes.clear()
        self._writes[caller] += 1
        return self._writes[caller] <= self.per_minute

    def _caller(self, request: Request) -> str:
        """A digest of the session's token, so that no token stays in memory; without a token, the
        address.
        """
        token = request.headers.get("authorization") or request.cookies.get(SESSION_COOKIE)
        if token:
            return sha256(token.encode()).hexdigest()
        return network_of(client_ip(request, self.proxies))
