"""Nothing that a client sends raises: 100,000 frames, handshakes and requests of a seeded random
generator, with no error in the log, no reply of 5xx, and nothing left behind.
"""

import asyncio
import json
import logging
import random
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from backend.push import signature
from tests.push.raw_socket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    LAST,
    PING,
    PONG,
    TEXT,
    RawSocket,
    connected,
    frame,
    opened,
    upgrade,
)
from tests.push.servers import KEY, SECRET, RedisServer, RunningGateway, running_gateway, until
from tests.push.test_intake import received_frames

FRAMES = 25_000
# The budgets are tested elsewhere; here every frame must reach the parser.
UNLIMITED: dict[str, Any] = {
    "frames_per_second": 10**6,
    "bytes_per_second": 10**9,
    "messages_per_second": 10**6,
    "client_events": True,
    "client_events_per_second": 10**6,
    "user_client_events_per_second": 10**6,
    "max_connections_per_address": 10**6,
    "address_seconds": 0,
    "close_timeout_seconds": 1,
}
DEEP = 10_000
WORDS = (
    "event", "data", "channel", "auth", "channel_data", "user_data", "user_id", "user_info", "id",
    "pusher:subscribe", "pusher:unsubscribe", "pusher:signin", "pusher:ping", "pusher:pong",
    "gittix:time", "gittix:resume", "client-x", "show-1", "private-a", "presence-a",
    "private-encrypted-a", "epoch", "seq", "cache-a",
    "#server-to-user-ann", "", "\0", "é", "\u202e", "💥" * 60, "x" * 300, "key:", KEY + ":",
)  # fmt: skip
NUMBERS = (0, -1, 1.5, 2**63, 2**64, -(2**70), 10**400, True, False, None)
# JSON that is none, or is none for most parsers.
TEXTS = (
    b"", b" ", b"{", b"[", b'"', b"nul", b"NaN", b"1e999", b"-", b"{}{}", b'{"event":}',
    b"\xef\xbb\xbf{}",
    b'{"event":"\\ud800"}', b'{"event":"\\udc00\\ud800","data":"\\ud800"}',
    b'{"event":"a","event":"b"}',
    b'{"event":"pusher:subscribe","data":"{\\"channel\\":\\"\\ud800\\"}"}',
    b'{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"\\u00e9:\\u00e9"}}',
    b'{"event":"gittix:resume","data":{"channel":"show-1","epoch":1e400,"seq":-1}}',
    b'{"event":"gittix:resume","data":{"channel":"\\ud800","epoch":1,"seq":1,"socket_id":1}}',
    b'{"event":"pusher:signin","data":{"auth":"","user_data":"\\ud800"}}',
    b"[" * DEEP, b'{"a":' * (DEEP // 3), b"[" * 500 + b"]" * 500,
    b'{"event":"a","data":' + b"[" * DEEP + b"]" * DEEP + b"}",
    b'{"event":"pusher:subscribe","data":' + b'{"channel":' * 1_500 + b"1" + b"}" * 1_500 + b"}",
)  # fmt: skip


class Generator:
    def __init__(self, seed: int, socket_id: str = "1.1") -> None:
        self.random = random.Random(seed)
        self.socket_id = socket_id

    def frames(self) -> bytes:
        """One to three frames."""
        choose = self.random.random()
        if choose < 0.70:
            return frame(TEXT, self.text())
        if choose < 0.80:
            return frame(self.random.choice((PING, PONG)), self.random.randbytes(self.upto(125)))
        if choose < 0.90:
            text = self.text()
            cut = self.upto(len(text))
            return frame(0x01, text[:cut]) + frame(PING) + frame(LAST, text[cut:])
        if choose < 0.985:
            return frame(TEXT, self.message())
        return self.fatal()

    def fatal(self) -> bytes:
        """Frames after which the socket must be closed."""
        return self.random.choice(
            (
                lambda: frame(TEXT, b"\xff\xfe" + self.text()[:1_000]),
                lambda: frame(TEXT, b"\xed\xa0\x80") + frame(CLOSE, b"\x03\xe8"),
                lambda: frame(0x01, b"\xc3") + frame(LAST, b"\x28"),
                lambda: frame(BINARY, self.random.randbytes(self.upto(200))),
                lambda: frame(0x02) + frame(LAST) + frame(CLOSE),
                lambda: frame(0x01) + frame(CONTINUATION) * 100,
                lambda: frame(0x01) + frame(TEXT),
                lambda: frame(LAST),
                lambda: frame(0x01) + frame(CLOSE),
                lambda: frame(CLOSE, self.random.randbytes(self.upto(125))),
                lambda: frame(CLOSE, b"\x03\xe8\xff\xff"),
                lambda: frame(CLOSE) + frame(TEXT, b"{}") + frame(PING),
                lambda: frame(PING, b"x" * 126),
                lambda: frame(TEXT, b"x" * 70_000),
                lambda: bytes([TEXT, 0xFF]) + b"\xff" * 12,
                lambda: bytes([self.random.randrange(256)]) + self.random.randbytes(30),
                lambda: bytes([TEXT, 2]) + b"{}",
                lambda: frame(self.random.choice((0x83, 0x8B, 0xC1, 0x91, 0x09))),
            )
        )()

    def text(self) -> bytes:
        choose = self.random.random()
        if choose < 0.2:
            return self.random.choice(TEXTS)
        if choose < 0.4:
            return self.mutated(self.message())
        return json.dumps(self.value(0), ensure_ascii=self.random.random() < 0.5).encode()

    def message(self) -> bytes:
        """A message whose parts are right more often than not; also with a right signature."""
        event = self.random.choice(WORDS[9:16] + WORDS[:2])
        channel = self.random.choice(WORDS[16:])
        content = self.random.choice((json.dumps(self.value(1)), "[" * DEEP, '{"user_id":"ann"}'))
        user = self.random.choice(
            (content, '{"id":"ann","user_info":' + "[" * 900 + "]" * 900 + "}")
        )
        signed = {
            "channel": channel,
            "channel_data": content,
            "auth": self.token(signature.channel_text(self.socket_id, channel, content)),
            "user_data": user,
        }
        if event == "pusher:signin":
            signed["auth"] = self.token(signature.signin_text(self.socket_id, user))
        data: Any = signed if self.random.random() < 0.7 else self.value(1)
        if self.random.random() < 0.3:
            data = json.dumps(data)
        return json.dumps({"event": event, "channel": channel, "data": data}).encode()

    def token(self, text: str) -> str:
        return f"{KEY}:{signature.sign(SECRET, text)}"

    def value(self, depth: int) -> Any:
        choose = self.random.random()
        if depth > 4 or choose < 0.4:
            return self.random.choice(WORDS)
        if choose < 0.6:
            return self.random.choice(NUMBERS)
        if choose < 0.7:
            return [self.value(depth + 1) for _ in range(self.upto(4))]
        return {self.random.choice(WORDS): self.value(depth + 1) for _ in range(self.upto(5))}

    def mutated(self, text: bytes) -> bytes:
        changed = bytearray(text)
        for _ in range(self.upto(4)):
            at = self.upto(max(0, len(changed) - 1))
            changed[at : at + self.upto(3)] = bytes(
                self.random.choice(b'"\\{}[]:,0e-u\x00\x7f abz') for _ in range(self.upto(3))
            )
        return bytes(changed)

    def upto(self, most: int) -> int:
        return self.random.randint(0, most)


def resident_kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@asynccontextmanager
async def hardened(redis_server: RedisServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(redis_server.url, **UNLIMITED) as gateway:
        yield gateway
        # Nothing is left of what the clients sent.
        await until(lambda: not gateway.server.server_state.connections)
        await until(lambda: not gateway.server.server_state.tasks)
        assert not gateway.gateway._connections
        assert not list(gateway.gateway.registry.occupied())
        assert not gateway.gateway._limit._taken


@pytest.mark.parametrize("seed", range(4))
async def test_no_frame_raises(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    sockets = 0
    with capture_logs() as structured, caplog.at_level(logging.INFO):
        async with hardened(redis_server) as gateway:
            generator = Generator(seed)
            before, parsed = resident_kilobytes(), received_frames()
            while received_frames() - parsed < FRAMES:
                sockets += 1
                async with opened(gateway.port) as client:
                    (connection,) = gateway.gateway._connections
                    generator.socket_id = connection.socket_id
                    await send_frames(client, generator)
                await until(lambda: not gateway.gateway._connections)
            assert resident_kilobytes() - before < 64_000
            async with gateway.raw() as honest:
                await honest.established()
                await honest.send("pusher:ping", {})
                await honest.message("pusher:pong")
    assert errors(caplog, structured) == []
    assert sockets > 50, "no frame closed its socket"


async def send_frames(client: RawSocket, generator: Generator) -> None:
    """Send frames until the socket ends, some 500 at most."""
    reading = asyncio.create_task(client.reader.read(-1))
    with suppress(OSError):
        for _ in range(50):
            if reading.done():
                break
            client.writer.write(b"".join(generator.frames() for _ in range(10)))
            await client.writer.drain()
            await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


def errors(caplog: pytest.LogCaptureFixture, structured: list[Any]) -> list[str]:
    """The errors and tracebacks that any logger received."""
    return [
        f"{record.levelname} {record.getMessage()} {record.exc_text or record.exc_info}"
        for record in caplog.records
        if record.levelno >= logging.ERROR or record.exc_info
    ] + [
        str(event)
        for event in structured
        if event["log_level"] in {"error", "critical"} or event.get("exc_info")
    ]


@pytest.mark.parametrize("seed", range(2))
async def test_no_request_raises(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    statuses: set[bytes] = set()
    with capture_logs() as structured, caplog.at_level(logging.INFO):
        async with hardened(redis_server) as gateway:
            generator = Generator(seed)
            for _ in range(1_000):
                async with connected(gateway.port) as client:
                    client.writer.write(request(generator))
                    client.writer.write_eof()
                    with suppress(OSError):
                        async with asyncio.timeout(10):
                            reply = await client.reader.read(12)
                    statuses.add(reply[9:12])
    assert errors(caplog, structured) == []
    assert not [status for status in statuses if status.startswith(b"5")]
    assert {b"101", b"200", b"400", b"404"} <= statuses


def request(generator: Generator) -> bytes:
    """A request or a handshake, mutated more often than not."""
    choice = generator.random.choice
    path = choice(
        (
            f"/app/{KEY}?protocol=7", "/app/x", "//", "/%00", "/%ff%fe", "/app/%ff?protocol=%ff",
            f"/app/{KEY}?" + "a&" * 100, "/apps/3/events", "/apps/3/channels?" + "a=b&" * 65,
            "/apps/3/channels?auth_key=%ff&auth_signature=%ff", "/healthz", "/metrics", "*",
            "/\xe9",
            "http://[/", "/apps/3/users/x/terminate_connections", "/apps/3/channels/%ff",
        )
    )  # fmt: skip
    headers = [
        header
        for header in (
            choice(("Host: x", "Host: [", "Host: \xff", "Host: a:b:c", "Host: x:99999999")),
            choice(("X-Forwarded-For: ,,[", "X-Forwarded-For: 1.1.1.1%eth0", "Origin: \xff\xfe")),
            choice(("Content-Length: 5", "Content-Length: -1", "Transfer-Encoding: chunked")),
            choice(("Expect: 100-continue", "Upgrade: h2c", "Connection: upgrade, \xff")),
            choice(("Content-Type: \xff", "Cookie: \xff=\xff", "Authorization: \xff")),
        )
        if generator.random.random() < 0.4
    ]
    if generator.random.random() < 0.5:
        whole = upgrade(path, *headers)
    else:
        method = choice(("GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "\xe9"))
        lines = [f"{method} {path} HTTP/{choice(('1.1', '1.0', '2', 'x'))}", "Host: x", *headers]
        whole = "\r\n".join([*lines, "", ""]).encode("latin-1")
    if generator.random.random() < 0.3:
        whole = generator.mutated(whole)
    return whole + choice((b"", b"hello", b"[" * DEEP, generator.frames()))
