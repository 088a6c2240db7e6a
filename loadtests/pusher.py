"""A Pusher client for many sockets in one locust process: protocol 7 over gevent's sockets.

`websockets`' sans-I/O core does the framing and one greenlet a socket does the reading. What a channel's numbers prove
is counted: a number that was jumped over is a message that never came.
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

from loadtests.told import Told, decode

CONNECT_SECONDS = 30.0
SUBSCRIBE_SECONDS = 30.0
RECONNECT_SECONDS = 1.0
RECONNECT_AT_ONCE = 4200
# What ends without a word has no code of its own.
ABNORMAL = 1006
NEVER_MADE = 0
READ_BYTES = 1 << 16
CLOCK_QUESTIONS = 5

Heard = Callable[[str, str, Told, float], None]
# (socket id, channel) to the fields that its subscription needs.
Authorize = Callable[[str, str], dict[str, str]]


class SocketLost(Exception):
    """The connection ended, or was never made."""


class Envelope(msgspec.Struct):
    event: str
    data: Any = None
    channel: str | None = None


_envelope = msgspec.json.Decoder(Envelope).decode


@dataclass
class Evidence:
    """What all sockets of a run proved together."""

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

    def place(self, told: Told, evidence: Evidence) -> None:
        if told.seq is None or told.epoch is None:
            return
        if self.epoch == told.epoch:
            evidence.missing += max(0, told.seq - self.seq - 1)
            evidence.repeated += told.seq <= self.seq
        elif self.epoch is not None:
            evidence.epochs += 1
        self.epoch, self.seq = told.epoch, told.seq


class Connection:
    """One WebSocket. Raises SocketLost whenever it can't go on."""

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
        except OSError as fault:
            raise SocketLost(str(fault)) from fault

    @property
    def close_code(self) -> int:
        return self._protocol.close_code or ABNORMAL

    def texts(self) -> Iterator[bytes]:
        """What the server says, until the connection ends."""
        while self._protocol.state is not State.CLOSED:
            try:
                received = self._socket.recv(READ_BYTES)
                self._protocol.receive_data(received) if received else self._protocol.receive_eof()
                self._flush()
            except OSError as fault:
                raise SocketLost(str(fault)) from fault
            if self._protocol.handshake_exc:
                raise SocketLost(str(self._protocol.handshake_exc))
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    # Pusher's messages are short: neither gateway nor proxy splits them.
                    assert event.fin
                    yield bytes(event.data)

    def send(self, event: str, data: object) -> None:
        try:
            self._protocol.send_text(msgspec.json.encode({"event": event, "data": data}))
            self._flush()
        except OSError as fault:
            raise SocketLost(str(fault)) from fault

    def close(self) -> None:
        self._socket.close()

    def _flush(self) -> None:
        for piece in self._protocol.data_to_send():
            if piece:
                self._socket.sendall(piece)


class Listener:
    """Stays connected and subscribed to its channels until it is closed; `heard` gets each message as it comes."""

    def __init__(
        self,
        url: str,
        channels: list[str],
        heard: Heard,
        evidence: Evidence,
        authorize: Authorize | None = None,
    ) -> None:
        self._url = url
        self._names = channels
        self._heard = heard
        self._evidence = evidence
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
        """Until it hears all its channels. False when that takes too long."""
        return bool(self.ready.wait(SUBSCRIBE_SECONDS))

    def close(self) -> None:
        self._closing = True
        if self._connection:
            self._connection.close()
        self._greenlet.kill(block=False)

    @property
    def clock(self) -> tuple[float, float]:
        """What to add to this machine's clock to have the gateway's, and how far off that may be, in seconds."""
        if not self._clock:
            return 0.0, float("inf")
        trip, offset = min(self._clock)
        return offset, trip / 2 + 0.001

    def _run(self) -> None:
        while not self._closing:
            code = self._once()
            if self._closing:
                return
            # What came meanwhile can't be known: numbers count anew from the next subscription.
            self.steady = False
            self.ready.clear()
            self._evidence.lost[code] = self._evidence.lost.get(code, 0) + 1
            if code != RECONNECT_AT_ONCE:
                gevent.sleep(RECONNECT_SECONDS * random.uniform(1, 1.25))

    def _once(self) -> int:
        """One connection from its beginning to its end. Returns its close code."""
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
        told = decode(envelope.data)
        channel.place(told, self._evidence)
        self._evidence.messages += 1
        assert envelope.channel is not None
        self._heard(envelope.event, envelope.channel, told, at)

    def _control(self, connection: Connection, envelope: Envelope, at: float) -> None:
        match envelope.event:
            case "pusher:ping":
                connection.send("pusher:pong", {})
            case "pusher:connection_established":
                socket_id = msgspec.json.decode(envelope.data)["socket_id"]
                # Asked for over HTTP, so not in the way of what comes meanwhile.
                gevent.spawn(self._subscribe, connection, socket_id)
                self._ask_time(connection)
            case "gittix:time":
                self._learn_time(connection, msgspec.json.decode(envelope.data)["now"] / 1000, at)
            case "pusher_internal:subscription_succeeded":
                self._subscribed.add(envelope.channel or "")
                if self._subscribed.issuperset(self._names):
                    self.ready.set()
            case "pusher:error" | "pusher:subscription_error":
                self._evidence.refused += 1

    def _subscribe(self, connection: Connection, socket_id: str) -> None:
        try:
            for name in self._names:
                signed = self._authorize(socket_id, name) if self._authorize else {}
                connection.send("pusher:subscribe", {"channel": name} | signed)
        except SocketLost:
            # The reader sees it as well, and begins anew.
            return

    def _ask_time(self, connection: Connection) -> None:
        self._asked_at = time.time()
        connection.send("gittix:time", {})

    def _learn_time(self, connection: Connection, now: float, at: float) -> None:
        trip = at - self._asked_at
        # The gateway says whole milliseconds, rounded down.
        self._clock.append((trip, now + 0.0005 - (self._asked_at + trip / 2)))
        if len(self._clock) < CLOCK_QUESTIONS:
            self._ask_time(connection)
