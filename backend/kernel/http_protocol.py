"""uvicorn's HTTP protocol with bounds on the bytes, the time and the connections of its clients.

A connection either works on a request, or waits for its client: for a head, for a body, for the
client to read its reply, or for the next request. Each wait has a deadline. Only waiting
connections are closed to make room for new ones, the longest-waiting first, so that a client which
sends its requests at once is served while others hold all connections open (decision 30).
"""

import asyncio
import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, NoReturn, cast

from prometheus_client import Counter
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from backend.kernel.problems import BadRequest, Problem, Unavailable

# nginx passes heads of up to 32 KB and request targets of up to 8 KB.
MAX_HEAD_BYTES: Final = 32 * 1024
MAX_TARGET_BYTES: Final = 8 * 1024
MAX_HEADERS: Final = 100
MAX_PIPELINED: Final = 8
# Files for everything else: stores, logs, listening sockets.
RESERVED_FILES: Final = 200

CLOSED = Counter(
    "gittix_http_connections_closed",
    "Connections that a bound closed, by the bound.",
    ["reason"],
)


class Wait(Enum):
    """The client's part for which a connection waits."""

    HEAD = "head"
    BODY = "body"
    # The reply is larger than the buffers, and the client does not read it.
    READING = "reading"
    NEXT_REQUEST = "next_request"
    # The server has sent its last byte.
    CLOSING = "closing"


def _seconds() -> Mapping[Wait, float]:
    return {
        Wait.HEAD: 10,
        Wait.BODY: 30,
        Wait.READING: 60,
        # uvicorn closes an idle connection after 75 seconds, but its timer stops at any byte.
        Wait.NEXT_REQUEST: 80,
        Wait.CLOSING: 2,
    }


def _connections() -> int:
    """4096, or fewer when the process may open few files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(4096, files - RESERVED_FILES))


@dataclass(frozen=True)
class Bounds:
    """The bounds of one server."""

    connections: int = field(default_factory=_connections)
    # Of the bodies that are buffered for all connections.
    body_bytes: int = 32 * 1024 * 1024
    seconds: Mapping[Wait, float] = field(default_factory=_seconds)
    # The pause between two checks of the deadlines.
    check_seconds: float = 1.0


class UriTooLong(Problem):
    status = 414
    code = "uri_too_long"


class HeadersTooLarge(Problem):
    status = 431
    code = "headers_too_large"


class RequestTimeout(Problem):
    status = 408
    code = "request_timeout"


class TooManyConnections(Unavailable):
    code = "too_many_connections"


class Connections:
    """The open connections of one server."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._open: set[BoundedHttp] = set()
        # The deadline of each waiting connection, the longest-waiting first.
        self._waiting: dict[BoundedHttp, float] = {}
        self._body_bytes = 0
        self._check: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, connection: "BoundedHttp") -> bool:
        return connection in self._open

    def admit(self, connection: "BoundedHttp") -> bool:
        """Make room for a new connection. Returns False when every other one works."""
        if len(self._open) >= self.bounds.connections:
            longest_waiting = next(iter(self._waiting), None)
            if longest_waiting is None:
                return False
            longest_waiting.abort("too_many_connections")
        self._open.add(connection)
        if self._check is None:
            self._check_later(connection.loop)
        return True

    def remove(self, connection: "BoundedHttp") -> None:
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def wait(self, connection: "BoundedHttp", wait: Wait) -> None:
        self._waiting.pop(connection, None)
        self._waiting[connection] = connection.loop.time() + self.bounds.seconds[wait]

    def work(self, connection: "BoundedHttp") -> None:
        self._waiting.pop(connection, None)

    def buffer(self, byte_count: int) -> None:
        """Count bytes of a body, and close connections with incomplete bodies above the bound."""
        self._body_bytes += byte_count
        if self._body_bytes <= self.bounds.body_bytes:
            return
        for connection in [each for each in self._waiting if each.body_bytes]:
            connection.abort("too_many_body_bytes")
            if self._body_bytes <= self.bounds.body_bytes:
                break

    def release(self, byte_count: int) -> None:
        self._body_bytes -= byte_count

    def _check_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._check = loop.call_later(self.bounds.check_seconds, self._check_deadlines, loop)

    def _check_deadlines(self, loop: asyncio.AbstractEventLoop) -> None:
        self._check = None
        if self._open:
            self._check_later(loop)
        now = loop.time()
        for connection in [each for each, until in self._waiting.items() if until <= now]:
            connection.expire()


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.body_bytes = 0
        self._connections = connections
        self._wait: Wait | None = None
        # The part of a request that the parser is in.
        self._part: Literal["head", "body"] | None = None
        self._head_bytes = 0
        # The bytes since the parser's last callback: it keeps those of an incomplete header.
        self._unparsed_bytes = 0
        self._parse_problem: Problem | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._connections.admit(self):
            self._update()
            return
        CLOSED.labels("too_many_connections").inc()
        problem = TooManyConnections("try again in a moment", headers={"Retry-After": "1"})
        transport.write(_encode(problem))
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            # Bytes that the client sent before it reads the refusal.
            return
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self._refused:
            self._refuse(_head_too_large())
        self._update()

    def handle_websocket_upgrade(self) -> None:
        self._forget()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - of the base class
        """Called for a request that the parser or one of the callbacks below refused."""
        self._refuse(self._parse_problem or BadRequest("the request is not valid HTTP"))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._update()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._update()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._part = "head"
        self._head_bytes = 0
        # A new deadline.
        self._wait = None

    def on_url(self, url: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            self._raise(UriTooLong(f"a request target may have at most {MAX_TARGET_BYTES} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unparsed_bytes = 0
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEADERS:
            self._raise(_head_too_large())
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._part = "body"
        if len(self.pipeline) >= MAX_PIPELINED:
            self._raise(BadRequest("too many requests before the first reply"))
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)
        if not self.cycle.response_complete:
            self.body_bytes += len(body)
            self._connections.buffer(len(body))

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        self._part = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update()

    def abort(self, reason: str) -> None:
        """Close the connection at once."""
        CLOSED.labels(reason).inc()
        self._forget()
        self.transport.abort()

    def expire(self) -> None:
        """Close the connection after the deadline of its wait; with a reply, if it waits for a
        request.
        """
        assert self._wait is not None
        if self._part is not None and self._may_reply():
            self._refuse(RequestTimeout("the request did not arrive in time"))
            self._update()
        else:
            self.abort(self._wait.value)

    def _update(self) -> None:
        """Called after each event of the connection."""
        if self not in self._connections:
            return
        if not self._works():
            self._release_body()
        wait = self._awaited()
        if wait is None:
            self._connections.work(self)
        elif wait is not self._wait:
            self._connections.wait(self, wait)
        self._wait = wait

    def _awaited(self) -> Wait | None:
        """The client's part for which the connection waits, or None while it works."""
        if self._refused:
            return Wait.CLOSING
        closing = self.transport.is_closing()
        if self.flow.write_paused or (closing and self.transport.get_write_buffer_size()):
            return Wait.READING
        if closing:
            return Wait.CLOSING
        if self._part == "body" and not self.pipeline:
            return Wait.BODY
        if self._works():
            return None
        return Wait.HEAD if self._part == "head" or self.cycle is None else Wait.NEXT_REQUEST

    def _works(self) -> bool:
        # Before the first request, uvicorn's cycle is None.
        cycle = cast(RequestResponseCycle | None, self.cycle)
        return bool(self.pipeline) or (cycle is not None and not cycle.response_complete)

    def _may_reply(self) -> bool:
        """Whether the client would read the next bytes as the reply to its last request."""
        if self._refused or self.pipeline or self.transport.is_closing():
            return False
        if self._part == "body":
            return self._works() and not self.cycle.response_started
        return not self._works()

    def _raise(self, problem: Problem) -> NoReturn:
        """End the parsing: httptools stops at an exception, and uvicorn calls
        `send_400_response`.
        """
        self._parse_problem = problem
        raise problem

    def _refuse(self, problem: Problem) -> None:
        """Send a reply and no more. For a moment, further bytes of the client are discarded: if the
        socket closed with unread bytes, the kernel would discard the reply.
        """
        if not self._may_reply():
            self.abort(problem.problem_code)
            return
        self._refused = True
        CLOSED.labels(problem.problem_code).inc()
        if self._works():
            self.cycle.disconnected = True
            # uvicorn would write `100 Continue` when the application reads the body.
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()
        self.transport.write(_encode(problem))
        self.transport.write_eof()

    def _release_body(self) -> None:
        self._connections.release(self.body_bytes)
        self.body_bytes = 0

    def _forget(self) -> None:
        self._release_body()
        self._connections.remove(self)


def _head_too_large() -> HeadersTooLarge:
    return HeadersTooLarge(
        f"a request may have at most {MAX_HEADERS} headers and {MAX_HEAD_BYTES} bytes of them"
    )


def _encode(problem: Problem) -> bytes:
    response = problem.response()
    headers = [*response.raw_headers, (b"connection", b"close")]
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body)
