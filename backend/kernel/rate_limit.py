"""Limits the writes of one caller per minute, in each process.

The limit keeps a runaway script from exhausting the service. Limits over all processes, against
password guessing, are counted in Redis by auth.
"""

from collections.abc import Iterable
from math import ceil

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.kernel import principal
from backend.kernel.client_address import Network, client_ip
from backend.kernel.limits import Check, LocalCounters, Rate, by_address
from backend.kernel.problems import TooMany

WINDOW_SECONDS = 60.0
READS = frozenset({"GET", "HEAD", "OPTIONS"})


class WriteLimit:
    """Pure ASGI middleware: answers 429 with Retry-After above `per_minute` writes of one user,
    or of one address without a verified user. `unlimited` are paths of webhooks.

    Nothing that a caller may invent selects the count: neither a token that fails its
    verification nor the spelling of a header.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        per_minute: int,
        proxies: Iterable[Network],
        unlimited: frozenset[str] = frozenset(),
    ) -> None:
        self.app = app
        self.limit = Rate("writes", per_minute, WINDOW_SECONDS)
        self.proxies = proxies
        self.unlimited = unlimited
        self._counters = LocalCounters()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] not in READS
            and scope["path"] not in self.unlimited
        ):
            wait = self._counters.admit(self._checks(Request(scope)))
            if wait > 0:
                refusal = TooMany(
                    "too many writes in this minute; try again later",
                    headers={"Retry-After": str(ceil(wait))},
                ).response()
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _checks(self, request: Request) -> list[Check]:
        user = principal.current(request)
        if user is not None:
            return [Check(self.limit, str(user.user_id))]
        return by_address(self.limit, client_ip(request, self.proxies))
