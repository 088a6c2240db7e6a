"""Requests and frames as bytes, also those that no library sends."""

import asyncio
import base64
import os
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
UNFINISHED_TEXT, CONTINUATION = 0x01, 0x00
HOST = "localhost"


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def request_bytes(method: str, path: str, body: object, headers: Mapping[str, str]) -> bytes:
    """A request. Bytes are sent as they are, other bodies as JSON."""
    content = (
        b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
    )
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {HOST}",
        f"Content-Length: {len(content)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if "Content-Type" not in headers:
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode() + content


async def response(reader: asyncio.StreamReader) -> Reply:
    """Read a response with a `Content-Length`, which all replies of GitTix have."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        key = name.lower()
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Reply(int(first.split()[1]), headers, body)


def upgrade(path: str) -> bytes:
    """The handshake of a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {HOST}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(first: int, payload: bytes = b"") -> bytes:
    """A client's frame under the mask 0, which leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    else:
        head = bytes([first, 0xFE]) + size.to_bytes(2, "big")
    return head + bytes(4) + payload


def event(name: str, data: object, channel: str | None = None) -> bytes:
    """A text frame with a message of the Pusher protocol."""
    message = {"event": name, "data": data} | ({"channel": channel} if channel else {})
    return frame(TEXT, msgspec.json.encode(message))


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next frame of the server: its first byte and its payload."""
    first, size = await reader.readexactly(2)
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2), "big")
    elif size == 127:
        size = int.from_bytes(await reader.readexactly(8), "big")
    return first, await reader.readexactly(size)
