"""Middleware that lets no request of an ended session read or write.

`TokenVerifier` refuses the tokens of sessions that are known to have ended. This middleware covers
the rest: it holds back a request with credentials while the ends are not known, and it checks the
session again with each part of a body, so that a client cannot keep a request open beyond its
session.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.kernel.ended_sessions import EndedSessions
from backend.kernel.middleware import SAFE_METHODS, has_session_cookie
from backend.kernel.principal import PRINCIPAL, Principal, unauthorized
from backend.kernel.problems import Problem


class LiveSessions:
    """Pure ASGI middleware. It is the innermost, so that no wait lies between its check and the
    handler's.
    """

    def __init__(self, app: ASGIApp, *, ended_sessions: EndedSessions) -> None:
        self.app = app
        self.ended_sessions = ended_sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self.app(scope, receive, send)
            return
        if not self.ended_sessions.is_current and _has_credentials(scope):
            try:
                await self.ended_sessions.until_current()
            except Problem as refusal:
                await refusal.response()(scope, receive, send)
                return
            # Middleware before this one may have read it before the wait.
            scope.pop(PRINCIPAL, None)

        async def receive_live() -> Message:
            message = await receive()
            await self._check(scope.get(PRINCIPAL))
            return message

        await self.app(scope, receive if scope["method"] in SAFE_METHODS else receive_live, send)

    async def _check(self, principal: Principal | None) -> None:
        """Raises Unauthorized, Unavailable."""
        if principal is None:
            return
        await self.ended_sessions.until_current()
        if self.ended_sessions.refuses(principal.session_id, principal.issued_at):
            raise unauthorized()


def _has_credentials(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "authorization" in headers or has_session_cookie(headers)
