"""An HTTP connection of the gateway, counted by the address of its peer, until it becomes a socket.

uvicorn and Starlette serve the HTTP API. A WebSocket handshake ends here: its reply is written
before the next read, and the socket is a protocol of our own (`push_socket`), because uvicorn's
needs a task, a queue and a parser for each, of 24 KB.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast
from urllib.parse import unquote

from starlette.requests import HTTPConnection
from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from backend.kernel.client_address import is_trusted, network_of
from backend.kernel.http_protocol import BoundedHttp, Connections
from backend.push.address_limit import AddressLimit, Place
from backend.push.intake import Intake
from backend.push.protocol import app_key
from backend.push.push_socket import PushSocket
from backend.push.settings import GatewaySettings

TOO_MANY: Final = "too many connections from this address: sign in, or try again in a few seconds"
HEAD_END: Final = b"\r\n\r\n"
# Only `accept` and `reject` are used, which check a request and keep nothing of it.
HANDSHAKES: Final = ServerProtocol()
# A browser sends fifteen others, and each takes a microsecond.
CHECKED: Final = ("connection", "upgrade", "sec-websocket-key", "sec-websocket-version")
NO_PROTOCOL: Final = asyncio.Protocol()


class Sockets(Protocol):
    """The gateway, as far as a handshake needs it."""

    def admit(self, request: HTTPConnection) -> Place | None: ...

    def open(
        self, request: HTTPConnection, socket: PushSocket, place: Place, reply: bytes
    ) -> None: ...


class GatewayHttp(BoundedHttp):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
        settings: GatewaySettings,
        intake: Intake,
        limit: AddressLimit,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop, connections=connections)
        self._server_state = server_state
        self._settings = settings
        self._intake = intake
        self._limit = limit
        self._place: Place | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        # A proxy has the connections of all its clients; it bounds those of each.
        if address and not is_trusted(address, self._settings.trusted_proxies):
            self._place = self._limit.take(network_of(address))
            if self._place is None:
                self.abort("too_many_connections_of_address")

    def connection_lost(self, exc: Exception | None) -> None:
        self._release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received = data
        super().data_received(data)
        self._received = b""

    def handle_websocket_upgrade(self) -> None:
        """Reply to the handshake, and pass the transport to a socket if it is accepted."""
        if not HEAD_END.endswith(self._received[-len(HEAD_END) :]):
            # RFC 6455, 4.1: a client sends no frame before it has the reply.
            self.abort("frames_before_handshake")
            return
        if self._works():
            # The reply to an earlier request would be written among the frames.
            self.abort("handshake_before_reply")
            return
        path, _, query = self.url.partition(b"?")
        scope: dict[str, Any] = {
            **self.scope,
            "path": unquote(path.decode("latin-1")),
            "query_string": query,
        }
        request = HTTPConnection(scope)
        reply = _reply(str(self.scope["method"]), str(self.scope["http_version"]), request.headers)
        gateway: Sockets = self.app_state["apps"].of_key(app_key(scope["path"]))
        place = gateway.admit(request) if reply.status_code == 101 else None
        if place is not None:
            self._become_socket(gateway, request, reply, place)
        else:
            # The cheapest refusal. pusher-js tries again after a second, as after 4100.
            accepted = reply.status_code == 101
            self._end_with(HANDSHAKES.reject(429, TOO_MANY) if accepted else reply)

    def _become_socket(
        self, gateway: Sockets, request: HTTPConnection, reply: Response, place: Place
    ) -> None:
        self._forget()
        self._release()
        self.connections.discard(self)
        socket = PushSocket(self.transport, self._settings, self._intake, self._server_state)
        # For a protocol with buffers, uvloop's transport would keep the method of the one before,
        # and so this object: 5 KB for as long as the socket is open.
        self.transport.set_protocol(NO_PROTOCOL)
        self.transport.set_protocol(socket)
        gateway.open(request, socket, place, reply.serialize())
        # The parser refers to this object: without the cycle, both are freed at once.
        self.parser = cast(Any, None)

    def _end_with(self, reply: Response) -> None:
        """Send a reply and no more, as `_refuse` does with a problem."""
        self._refused = True
        self.transport.write(reply.serialize())
        self.transport.write_eof()

    def _release(self) -> None:
        if self._place is not None:
            self._place.release()


def _reply(method: str, version: str, headers: Mapping[str, str]) -> Response:
    """The reply to a handshake: 101, or an error of HTTP."""
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        return HANDSHAKES.reject(400, "a WebSocket handshake has no body\n")
    request = Request("/", Headers(), method, f"HTTP/{version}")
    for name, value in headers.items():
        if name in CHECKED:
            request.headers[name] = value
    return HANDSHAKES.accept(request)
