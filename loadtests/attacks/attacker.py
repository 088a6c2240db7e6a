"""The means of one attack: addresses, accounts, a rate, and the count of each outcome.

Every address is one of this machine's loopback network, so that the limits by address count each
attacker apart from the others and from the honest users, and no request leaves the machine.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

from loadtests.attacks.wire import Reply, request_bytes, response

NETWORK = "127.0.3"
REPLY_SECONDS = 30.0
# Actions under way at a time. A target that answers late gets no more than these.
MOST_AT_ONCE = 200
FINISH_SECONDS = 2.0
COOKIE = "gittix_session="
# The errors of a connection that its server ended.
ENDED = (OSError, asyncio.IncompleteReadError)


class Address(NamedTuple):
    host: str
    port: int


class Site(msgspec.Struct, frozen=True):
    """The instance under attack: its addresses, and the honest sellers' shows."""

    url: str
    push_url: str
    shows: list[str]

    @property
    def api(self) -> Address:
        return _address(self.url)

    @property
    def gateway(self) -> Address:
        return _address(self.push_url)

    @property
    def socket_path(self) -> str:
        parts = urlsplit(self.push_url)
        return f"{parts.path}?{parts.query}"


class Account(NamedTuple):
    user_id: str
    email: str
    token: str


class Attacker:
    """One attack. `outcomes` counts replies by status, closed sockets by code, and more."""

    def __init__(self, site: Site, accounts: Sequence[Account], seconds: float) -> None:
        self.site = site
        self.accounts = accounts
        self.outcomes: Counter[str] = Counter()
        self._ends_at = time.monotonic() + seconds
        self._idle: dict[str, list[_Connection]] = {}

    @property
    def seconds_left(self) -> float:
        return self._ends_at - time.monotonic()

    async def at_rate(
        self,
        per_second: float,
        action: Callable[[int], Coroutine[Any, Any, None]],
        *,
        seconds: float = float("inf"),
    ) -> None:
        """Start `action(0)`, `action(1)` … at this rate until the attack's end."""
        began, number = time.monotonic(), 0
        ends_at = min(self._ends_at, began + seconds)
        running: set[asyncio.Task[None]] = set()
        while time.monotonic() < ends_at:
            if len(running) < MOST_AT_ONCE:
                task = asyncio.create_task(action(number))
                running.add(task)
                task.add_done_callback(running.discard)
            else:
                self.outcomes["not sent"] += 1
            number += 1
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        if running:
            _, late = await asyncio.wait(running, timeout=FINISH_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        address: int,
        token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request from `NETWORK.address`, and count the status of its reply."""
        sent = {"Idempotency-Key": uuid4().hex, **(headers or {})}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        reply = await self.exchange(request_bytes(method, path, body, sent), f"{NETWORK}.{address}")
        self.outcomes[str(reply.status) if reply.status else "no reply"] += 1
        return reply

    async def exchange(self, sent: bytes, source: str) -> Reply:
        """Send a request over a kept connection. The status 0 means that no reply came."""
        idle = self._idle.setdefault(source, [])
        connection = idle.pop() if idle else _Connection(self.site.api, source)
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                reply = await connection.exchange(sent)
        except (TimeoutError, asyncio.LimitOverrunError, *ENDED):
            connection.close()
            return Reply(0, {}, b"")
        except BaseException:
            connection.close()
            raise
        idle.append(connection) if connection.open else connection.close()
        return reply

    def close(self) -> None:
        for idle in self._idle.values():
            for connection in idle:
                connection.close()


async def sign_up(attacker: Attacker, count: int, address: int) -> list[Account]:
    """Create accounts, two at a time, since the target has as many threads for passwords."""
    at_once = asyncio.Semaphore(2)

    async def one() -> Account:
        email, password = f"{uuid4().hex}@siege.example", uuid4().hex
        async with at_once:
            reply = await attacker.send(
                "POST",
                "/api/users/signup",
                {"email": email, "password": password},
                address=address,
            )
        if reply.status != 201:
            raise RuntimeError(f"an attacker's sign-up got {reply.status}: {reply.body[:200]!r}")
        cookie = reply.headers["set-cookie"]
        token = cookie[cookie.index(COOKIE) + len(COOKIE) :].partition(";")[0]
        user: dict[str, Any] = msgspec.json.decode(reply.body)
        return Account(user["current_user"]["id"], email, token)

    return list(await asyncio.gather(*(one() for _ in range(count))))


class _Connection:
    """A kept HTTP connection; `open` until the server closes it."""

    def __init__(self, target: Address, source: str) -> None:
        self._target = target
        self._source = source
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def open(self) -> bool:
        return self._streams is not None and not self._streams[0].at_eof()

    async def exchange(self, sent: bytes) -> Reply:
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await connect(self._target, self._source)
        reader, writer = self._streams
        writer.write(sent)
        reply = await response(reader)
        if reply.headers.get("connection") == "close":
            self.close()
        return reply

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def connect(
    target: Address, source: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection from this address of the loopback network."""
    return await asyncio.open_connection(target.host, target.port, local_addr=(source, 0))


async def end(task: asyncio.Future[None]) -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _address(url: str) -> Address:
    parts = urlsplit(url)
    host = parts.hostname or ""
    assert is_loopback(host), "an attack stays on its machine"
    return Address("127.0.0.1", parts.port or (443 if parts.scheme in {"https", "wss"} else 80))
