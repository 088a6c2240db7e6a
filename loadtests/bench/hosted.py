"""200 events through hosted Pusher at a round trip of 60 ms: a local server of the HTTP API waits
so long before each reply. With one lane the requests go out one after the other.

An event is a hold's: its show's channel and its buyer's channel.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pusher

from backend.push.hosted_publisher import LANES, HostedPublisher
from backend.push.publisher import PositionedMessages
from backend.push.push_log import Message
from loadtests.bench.results import publish

EVENTS = 200
KEY = "bench"
ROUND_TRIP_SECONDS = 0.06
DATA = '{"title":"' + "x" * 300 + '"}'


class _Hosted(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The head and the body are two writes; without this the second waits for an acknowledgement.
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(ROUND_TRIP_SECONDS)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        pass


async def measure() -> None:
    rows: dict[str, dict[str, Any]] = {}
    with _server() as port:
        for shows in (1, 50):
            batch = [
                PositionedMessages(
                    2 * at, [Message((f"show-{at % shows}", f"private-user-{at}"), "held", DATA)]
                )
                for at in range(1, EVENTS + 1)
            ]
            for lanes in (1, LANES):
                label = f"{EVENTS} events of {shows} shows, {lanes} lanes"
                rows[label] = {"seconds": round(await _seconds(port, lanes, batch), 2)}
    publish("hosted", rows)


async def _seconds(port: int, lanes: int, batch: list[PositionedMessages]) -> float:
    clients = [
        pusher.Pusher(app_id="1", key=KEY, secret=KEY, host="127.0.0.1", port=port, ssl=False)
        for _ in range(lanes)
    ]
    publisher = HostedPublisher(clients)
    try:
        began = time.perf_counter()
        state = await publisher.publish(batch, expected_appended=0)
        assert state.position == batch[-1].position, "the server refused nothing"
        return time.perf_counter() - began
    finally:
        publisher.close()


@contextmanager
def _server() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hosted)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
