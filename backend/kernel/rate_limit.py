"""A bound on how often one caller may write, in each process.

It keeps a runaway script from taking the service from everybody else; what needs a count over all processes (guessing
passwords) is counted in Redis by auth. The count is a dictionary that is forgotten each minute: `limits` would walk all
its keys at every hit in memory, or cost a round trip in Redis.
"""

import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.kernel.client_address import Network, block, client_ip
from backend.kernel.principal import SESSION_COOKIE
from backend.kernel.problems import TooMany

WINDOW_SECONDS = 60
# More than these in a minute are made up, and must not fill the memory.
MAX_CALLERS = 100_000
READS = frozenset({"GET", "HEAD", "OPTIONS"})


class WriteLimit:
    """Pure ASGI middleware: `per_minute` writes a session, or an address without one; 429 with Retry-After beyond.

    `unlimited` are paths that others' servers post to.
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
                    "slow down a little", headers={"Retry-After": str(wait)}
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
        """A digest of the session's token, so that none is kept; else the address."""
        token = request.headers.get("authorization") or request.cookies.get(SESSION_COOKIE)
        if token:
            return sha256(token.encode()).hexdigest()
        return block(client_ip(request, self.proxies))
