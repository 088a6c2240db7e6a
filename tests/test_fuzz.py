"""Random requests to every route: no 5xx without a named reason, and no traceback in a log.

`GITTIX_FUZZ_REQUESTS` and `GITTIX_FUZZ_SEED` set the number of requests and another seed.
"""

import asyncio
import json
import os
import random
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from backend.bootstrap import ROUTES
from backend.kernel.openapi import openapi_document
from tests import factories
from tests.embedded.running import clean_environment
from tests.fork_server import ForkServer, Process
from tests.fuzz.requests import Requests, Sent
from tests.fuzz.values import Values
from tests.system import System

REQUESTS = int(os.environ.get("GITTIX_FUZZ_REQUESTS", "20000"))
SEED = int(os.environ.get("GITTIX_FUZZ_SEED", "1"))
CONNECTIONS = 12
WARM_UP = 2_000
# The only reasons for a 503: Stripe is not running here, and password hashes have a queue.
UNAVAILABLE = {"payment_provider_unavailable", "busy"}
# Beyond the caches that a warm process has filled.
MAX_GROWTH_BYTES = 48 * 1024 * 1024


class Service:
    """A process of its own, with its log in a file."""

    def __init__(self, port: int, log: Path, process: Process) -> None:
        self.port = port
        self.log = log
        self._process = process

    def memory_bytes(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.mark.timeout(300)
async def test_no_request_gets_a_5xx_or_writes_a_traceback(
    system: System, fork_server: ForkServer
) -> None:
    async with (
        running(system, fork_server, "api") as api,
        running(system, fork_server, "push") as push,
    ):
        services = {"api": api, "push": push}
        requests = await requests_of(system)
        queues: dict[str, asyncio.Queue[Sent | None]] = {
            name: asyncio.Queue(maxsize=CONNECTIONS) for name in services
        }
        seen: Counter[int] = Counter()
        failures: list[str] = []
        before: dict[str, int] = {}
        async with asyncio.TaskGroup() as group:
            for name, service in services.items():
                for _ in range(CONNECTIONS):
                    group.create_task(send_all(service.port, queues[name], seen, failures))
            for number in range(REQUESTS):
                if number == min(WARM_UP, REQUESTS - 1):
                    before = {name: each.memory_bytes() for name, each in services.items()}
                name, sent = requests.next()
                await queues[name].put(sent)
            for name in services:
                for _ in range(CONNECTIONS):
                    await queues[name].put(None)
        after = {name: each.memory_bytes() for name, each in services.items()}
        # Shown by `pytest -s`.
        sys.stdout.write(
            f"\nreplies {dict(sorted(seen.items()))}\nRSS before {before}, after {after}\n"
        )
        assert failures == []
        for service in services.values():
            log = service.log.read_text()
            assert re.findall(r"Traceback.*|.*unexpected error.*|.*Exception in.*", log) == []
        assert sum(seen.values()) >= REQUESTS
        # The requests reached the handlers, and did not all fail at the first check.
        assert seen[200] + seen[201] + seen[204] > REQUESTS / 20
        for name in services:
            assert after[name] - before[name] < MAX_GROWTH_BYTES, (before, after)


async def requests_of(system: System) -> Requests:
    me, buyer = system.person("me"), system.person("buyer")
    show = await factories.show(me)
    tickets = [await factories.ticket(me, show["id"]) for _ in range(3)]
    order = await factories.order(buyer, tickets[0]["id"])
    ids = {"show": show["id"], "ticket": tickets[1]["id"], "order": order["id"]}
    document = openapi_document(ROUTES)
    values = Values(random.Random(SEED), document["components"]["schemas"], list(ids.values()))
    return Requests(values, document, tokens=[me.token, buyer.token], ids=ids, origin=system.url)


@asynccontextmanager
async def running(system: System, fork_server: ForkServer, name: str) -> AsyncIterator[Service]:
    port, log = system.ports[name], system.folder / f"{name}.log"
    environment = clean_environment() | system.environment | {"LOG_FORMAT": "json"}
    process = fork_server.start(("serve", name, "--port", str(port)), environment, log)
    try:
        async with asyncio.timeout(30):
            while not await is_open(port):
                assert process.alive, log.read_text()
                await asyncio.sleep(0.05)
        yield Service(port, log, process)
    finally:
        await process.kill()


async def is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def send_all(
    port: int, queue: asyncio.Queue[Sent | None], seen: Counter[int], failures: list[str]
) -> None:
    """Send requests on one connection, which is opened again whenever the server closes it."""
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while (sent := await queue.get()) is not None:
        client = client or await asyncio.open_connection("127.0.0.1", port)
        reader, writer = client
        writer.write(sent.data)
        if sent.broken:
            writer.write_eof()
        status, body, is_kept = await reply_of(reader, has_body=not sent.data.startswith(b"HEAD"))
        seen[status] += 1
        if not is_expected(sent, status, body):
            failures.append(f"{sent.name} {status} {body[:200]!r} {sent.data[:400]!r}")
        if sent.broken or not is_kept:
            writer.transport.abort()
            client = None
    if client is not None:
        client[1].transport.abort()


def is_expected(sent: Sent, status: int, body: bytes) -> bool:
    if status == 503:
        with suppress(ValueError):
            return json.loads(body).get("code") in UNAVAILABLE
    return status < 500 and (status > 0 or sent.broken)


async def reply_of(reader: asyncio.StreamReader, *, has_body: bool) -> tuple[int, bytes, bool]:
    """The status, the body, and whether the connection is kept; the status is 0 without a reply."""
    try:
        async with asyncio.timeout(20):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(maxsplit=2)[1])
                if status != 100:
                    break
            headers = headers_of(head)
            length = int(headers.get(b"content-length", b"0")) if has_body else 0
            body = await reader.readexactly(length if status not in {204, 304} else 0)
            if headers.get(b"transfer-encoding") == b"chunked":
                body = await reader.readuntil(b"0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, b"", False
    return status, body, headers.get(b"connection") != b"close"


def headers_of(head: bytes) -> Mapping[bytes, bytes]:
    lines = head.lower().split(b"\r\n")[1:-2]
    return {name: value for name, _, value in (line.partition(b": ") for line in lines)}
