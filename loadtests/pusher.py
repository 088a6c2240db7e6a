"""A Pusher client for many sockets in one locust process: protocol 7 over gevent's sockets.

The sans-I/O core of `websockets` does the framing, one greenlet for each socket the reading. Gaps
in a channel's sequence numbers are counted as missing messages.
"""

import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import msgspec
from gevent.event import Event
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from loadtests.push_message import PushMessage, decode

CONNECT_SECONDS = 30.0
SUBSCRIBE_SECONDS = 30.0
RECONNECT_SECONDS = 1.0
RECONNECT_AT_ONCE = 4200
# The code for connections that end without a close frame.
ABNORMAL = 1006
NEVER_MADE = 0
READ_BYTES = 1 << 16
CLOCK_QUESTIONS = 5

OnMessage = Callable[[str, str, PushMessage, float], None]
# Returns the fields of the subscription for a socket id and a channel.
Authorize = Callable[[str, str], dict[str, str]]


class SocketLost(Exception):
    """The connection ended, or was never made."""


class Envelope(msgspec.Struct):
    event: str
    data: Any = None
    channel: str | None = None


_envelope = msgspec.json.Decoder(Envelope).decode


@dataclass
class Deliveries:
    """Counts of messages and losses over all sockets of a run."""

    messages: int = 0
    missing: int = 0
    repeated: int = 0
    epochs: int = 0
    lost: dict[int, int] = field(default_factory=dict)
    refused: int = 0


@dataclass
class Channel:
    epoch: int | None = None
    seq: int = 0

    def record(self, message: PushMessage, deliveries: Deliveries) -> None:
        if message.seq is None or message.epoch is None:
            return
        if self.epoch == message.epoch:
            deliveries.missing += max(0, message.seq - self.seq - 1)
            deliveries.repeated += message.seq <= self.seq
        elif self.epoch is not None:
            deliveries.epochs += 1
        self.epoch, self.seq = message.epoch, message.seq


class Connection:
    """One WebSocket. Its methods raise SocketLost when the connection fails."""

    def __init__(self, url: str) -> None:
        uri = parse_uri(url)
        self._protocol = ClientProtocol(uri)
        try:
            self._socket = socket.create_connection((uri.host, uri.port), CONNECT_SECONDS)
            if uri.secure:
                self._socket = ssl.create_default_context().wrap_socket(
                    self._socket, server_hostname=uri.host
                )
            self._protocol.send_request(self._protocol.connect())
            self._flush()
            self._socket.settimeout(None)
        except OSError as error:
            raise SocketLost(str(error)) from error

    @property
    def close_code(self) -> int:
        return self._protocol.close_code or ABNORMAL

    def texts(self) -> Iterator[bytes]:
        """Yield the server's text messages until the connection ends."""
        while self._protocol.state is not State.CLOSED:
            try:
                received = self._socket.recv(READ_BYTES)
                self._protocol.receive_data(received) if received else self._protocol.receive_eof()
                self._flush()
            except OSError as error:
                raise SocketLost(str(error)) from error
            if self._protocol.handshake_exc:
                raise SocketLost(str(self._protocol.handshake_exc))
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    # Pusher's messages are short: neither the gateway nor a proxy splits them.
                    assert event.fin
                    yield bytes(event.data)

    def send(self, event: str, data: object) -> None:
        try:
            self._protocol.send_text(msgspec.json.encode({"event": event, "data": data}))
            self._flush()
        except OSError as error:
            raise SocketLost(str(error)) from error

    def close(self) -> None:
        self._socket.close()

    def _flush(self) -> None:
        for piece in self._protocol.data_to_send():
            if piece:
                self._socket.sendall(piece)


class Listener:
    """Stays connected and subscribed until closed; calls `on_message` for each message."""

    def __init__(
        self,
        url: str,
        channels: list[str],
        on_message: OnMessage,
        deliveries: Deliveries,
        authorize: Authorize | None = None,
    ) -> None:
        self._url = url
        self._names = channels
        self._on_message = on_message
        self._deliveries = deliveries
        self._authorize = authorize
        self._channels: dict[str, Channel] = {}
        self._connection: Connection | None = None
        self._closing = False
        self._subscribed: set[str] = set()
        self.ready = Event()
        self.steady = True
        self._clock: list[tuple[float, float]] = []
        self._asked_at = 0.0
        self._greenlet = gevent.spawn(self._run)

    def wait(self) -> bool:
        """Wait for all subscriptions. Returns False after a timeout."""
        return bool(self.ready.wait(SUBSCRIBE_SECONDS))

    def close(self) -> None:
        self._closing = True
        if self._connection:
            self._connection.close()
        self._greenlet.kill(block=False)

    @property
    def clock(self) -> tuple[float, float]:
        """The gateway's clock minus this machine's, and the maximal error, in seconds."""
        if not self._clock:
            return 0.0, float("inf")
        trip, offset = min(self._clock)
        return offset, trip / 2 + 0.001

    def _run(self) -> None:
        while not self._closing:
            code = self._once()
            if self._closing:
                return
            # Messages in between are unknown: numbers start again at the next subscription.
            self.steady = False
            self.ready.clear()
            self._deliveries.lost[code] = self._deliveries.lost.get(code, 0) + 1
            if code != RECONNECT_AT_ONCE:
                gevent.sleep(RECONNECT_SECONDS * random.uniform(1, 1.25))

    def _once(self) -> int:
        """Run one connection to its end. Returns its close code."""
        self._channels = {name: Channel() for name in self._names}
        self._subscribed.clear()
        try:
            connection = self._connection = Connection(self._url)
        except SocketLost:
            return NEVER_MADE
        try:
            for text in connection.texts():
                self._receive(connection, text, time.time())
        except SocketLost:
            return ABNORMAL
        finally:
            connection.close()
        return connection.close_code

    def _receive(self, connection: Connection, text: bytes, at: float) -> None:
        envelope = _envelope(text)
        channel = self._channels.get(envelope.channel or "")
        if channel is None or envelope.event.startswith("pusher"):
            self._control(connection, envelope, at)
            return
        message = decode(envelope.data)
        channel.record(message, self._deliveries)
        self._deliveries.messages += 1
        assert envelope.channel is not None
        self._on_message(envelope.event, envelope.channel, message, at)

    def _control(self, connection: Connection, envelope: Envelope, at: float) -> None:
        match envelope.event:
            case "pusher:ping":
                connection.send("pusher:pong", {})
            case "pusher:connection_established":
                socket_id = msgspec.json.decode(envelope.data)["socket_id"]
                # A greenlet of its own: authorization waits for an HTTP response.
                gevent.spawn(self._subscribe, connection, socket_id)
                self._ask_time(connection)
            case "gittix:time":
                self._learn_time(connection, msgspec.json.decode(envelope.data)["now"] / 1000, at)
            case "pusher_internal:subscription_succeeded":
                self._subscribed.add(envelope.channel or "")
                if self._subscribed.issuperset(self._names):
                    self.ready.set()
            case "pusher:error" | "pusher:subscription_error":
                self._deliveries.refused += 1

    def _subscribe(self, connection: Connection, socket_id: str) -> None:
        try:
            for name in self._names:
                signed = self._authorize(socket_id, name) if self._authorize else {}
                connection.send("pusher:subscribe", {"channel": name} | signed)
        except SocketLost:
            # The reading greenlet gets the same error, and reconnects.
            return

    def _ask_time(self, connection: Connection) -> None:
        self._asked_at = time.time()
        connection.send("gittix:time", {})

    def _learn_time(self, connection: Connection, now: float, at: float) -> None:
        trip = at - self._asked_at
        # The gateway rounds down to whole milliseconds.
        self._clock.append((trip, now + 0.0005 - (self._asked_at + trip / 2)))
        if len(self._clock) < CLOCK_QUESTIONS:
            self._ask_time(connection)
