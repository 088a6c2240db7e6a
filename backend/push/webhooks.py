"""Webhooks: posts what happens on channels to the URLs of an operator, signed, in order.

Gateways append events to a queue in Redis for each URL, bounded in bytes. One gateway at a time
holds the queue's lease and posts its oldest events until the URL replies with 2xx, with a growing
delay. Each try has the time of the try and so a new signature, because receivers refuse old ones.
An event that is not accepted within RETRY_SECONDS is dropped and counted; the events after it are
tried for as long.

The transitions of channels and members come from the stream of facts, each once over all gateways
(`facts`); one gateway at a time copies them. Events of clients are recorded by their gateway.

An event is posted at least once: a gateway that dies between a reply and the deletion leaves the
events to the next holder of the lease. Events of clients that a dying gateway has not appended yet
are lost, as are the oldest of a full queue.
"""

import asyncio
import hashlib
import hmac
import random
import secrets
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import structlog
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.kernel.supervisor import heartbeat
from backend.push.facts import FACTS, Fact, read_fact
from backend.push.protocol import encode
from backend.push.push_log import Message

TASK: Final = "push-webhooks"
KEY_PREFIX: Final = "gittix:webhooks:"
LAST_FACT: Final = "gittix:webhooks:last-fact"
FACTS_LEASE: Final = "gittix:webhooks:facts-lease"
# Of one URL. A client event has up to 10 KB, another event about 100 bytes.
MAX_QUEUE_BYTES: Final = 8 * 1_048_576
MAX_WAITING_BYTES: Final = 4 * 1_048_576
APPENDED_AT_ONCE: Final = 200
# The most events of a request, and the bytes above which it takes no further one.
MAX_EVENTS: Final = 100
MAX_REQUEST_BYTES: Final = 262_144
RETRY_SECONDS: Final = 300.0
FIRST_DELAY_SECONDS: Final = 1.0
MAX_DELAY_SECONDS: Final = 60.0
POST_SECONDS: Final = 8.0
# Longer than a request: a holder renews the lease before each, and while it waits.
LEASE_MS: Final = 20_000
IDLE_SECONDS: Final = 0.2

POSTED: Final = Counter(
    "gittix_push_webhook_events",
    "Events of webhooks: `posted`, `dropped` after five minutes without a 2xx reply, `overflowed` "
    "from a full queue, `malformed`",
    ["outcome"],
)
FAILED: Final = Counter("gittix_push_webhook_failures", "Requests of webhooks without a 2xx reply")

# KEYS: stream and size of each queue. ARGV: the most bytes of a queue, the key of the last copied
# fact or "", its id, then the events.
_APPEND: Final = """
local dropped = 0
if ARGV[2] ~= '' then redis.call('set', ARGV[2], ARGV[3]) end
for at = 1, #KEYS, 2 do
  local size = 0
  for item = 4, #ARGV do
    redis.call('xadd', KEYS[at], '*', 'e', ARGV[item])
    size = redis.call('incrby', KEYS[at + 1], #ARGV[item])
  end
  while size > tonumber(ARGV[1]) do
    local oldest = redis.call('xrange', KEYS[at], '-', '+', 'count', 1)[1]
    if not oldest then break end
    redis.call('xdel', KEYS[at], oldest[1])
    size = redis.call('decrby', KEYS[at + 1], #oldest[2][2])
    dropped = dropped + 1
  end
end
return dropped
"""
# ARGV: the ids of the events to delete.
_DELETE: Final = """
for _, id in ipairs(ARGV) do
  local found = redis.call('xrange', KEYS[1], id, id)[1]
  if found then
    redis.call('xdel', KEYS[1], id)
    redis.call('decrby', KEYS[2], #found[2][2])
  end
end
if redis.call('xlen', KEYS[1]) == 0 then redis.call('del', KEYS[1], KEYS[2]) end
"""
# ARGV: this holder and the lease in milliseconds. Takes or renews the lease, or returns 0.
_HOLD: Final = """
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
return 1
"""

log = structlog.get_logger()

Event = dict[str, Any]
OUTAGE: Final = (RedisError, OSError, TimeoutError)


def client_event(message: Message) -> Event:
    """The event of a client's message, which has one channel and the socket of its sender."""
    event = {
        "name": "client_event",
        "channel": message.channels[0],
        "event": message.event,
        "data": message.data,
        "socket_id": message.excluded,
    }
    return event | ({"user_id": message.user_id} if message.user_id is not None else {})


def transition(fact: Fact) -> Event:
    """The event of a transition of a channel or a member."""
    event: Event = {"name": fact.name, "channel": fact.channel}
    if fact.user_id is not None:
        event["user_id"] = fact.user_id
    if fact.count is not None:
        event["subscription_count"] = fact.count
    return event


def _event(entry_id: bytes, fields: dict[bytes, bytes]) -> bytes | None:
    """The event of a fact, or None for one that is malformed: a newer gateway may have others."""
    try:
        return encode(transition(read_fact(entry_id, fields)))
    except ValueError as error:
        POSTED.labels("malformed").inc()
        log.warning("fact skipped", entry=entry_id.decode(), error=str(error))
        return None


class Lease:
    """A task that one gateway at a time does."""

    def __init__(self, redis: Redis, key: str, *, timeout_seconds: float) -> None:
        self._key = key
        self._timeout = timeout_seconds
        self._script = redis.register_script(_HOLD)
        self._holder = secrets.token_hex(8)

    async def hold(self, milliseconds: int) -> bool:
        """Take or renew the lease. Returns whether this gateway has it for that long."""
        async with asyncio.timeout(self._timeout):
            return bool(await self._script(keys=[self._key], args=[self._holder, milliseconds]))

    async def release(self) -> None:
        """Leave the task to another gateway at once, if Redis answers; else when the lease ends."""
        with suppress(*OUTAGE):
            await self.hold(1)


class Queued(NamedTuple):
    """An event in Redis: the id of its entry, and its JSON."""

    id: bytes
    body: bytes


class WebhookQueue:
    """Records the events of this gateway. Without URLs it records nothing."""

    def __init__(self, redis: Redis, urls: Sequence[str], *, timeout_seconds: float) -> None:
        self._redis = redis
        self._script = redis.register_script(_APPEND)
        self._keys = [key for url in urls for key in _keys(url)]
        self._timeout = timeout_seconds
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._recorded = asyncio.Event()

    def record(self, *events: Event) -> None:
        """Queue events for all URLs. Never waits; a later call never overtakes an earlier one."""
        if not self._keys:
            return
        for event in events:
            body = encode(event)
            if self._bytes + len(body) > MAX_WAITING_BYTES:
                POSTED.labels("overflowed").inc()
                continue
            self._waiting.append(body)
            self._bytes += len(body)
        self._recorded.set()

    async def run(self) -> None:
        """Append the recorded events. Raises errors of Redis; the next call continues."""
        while True:
            heartbeat(TASK)
            try:
                async with asyncio.timeout(1):
                    await self._recorded.wait()
            except TimeoutError:
                continue
            await self._append_waiting()

    async def _append_waiting(self) -> None:
        while self._waiting:
            bodies = [self._waiting[at] for at in range(min(len(self._waiting), APPENDED_AT_ONCE))]
            await self._append(bodies)
            for body in bodies:
                self._waiting.popleft()
                self._bytes -= len(body)
        self._recorded.clear()

    async def _append(self, bodies: Sequence[bytes], fact: str = "") -> None:
        """Append events to all queues; `fact` is the last fact that they contain."""
        copied = [LAST_FACT, fact] if fact else ["", ""]
        async with asyncio.timeout(self._timeout):
            dropped = await self._script(keys=self._keys, args=[MAX_QUEUE_BYTES, *copied, *bodies])
        if dropped:
            POSTED.labels("overflowed").inc(dropped)
            log.error("webhook events overflowed", events=dropped)

    async def copy_facts(self) -> None:
        """Copy the facts to the queues for ever, while this gateway holds the lease. Raises errors
        of Redis; the next call continues.
        """
        lease = Lease(self._redis, FACTS_LEASE, timeout_seconds=self._timeout)
        try:
            while True:
                held = await lease.hold(LEASE_MS)
                copied = await self._copy_some_facts() if held else 0
                if copied < APPENDED_AT_ONCE:
                    await asyncio.sleep(IDLE_SECONDS if held else LEASE_MS / 4_000)
        finally:
            await lease.release()

    async def _copy_some_facts(self) -> int:
        async with asyncio.timeout(self._timeout):
            last = await self._redis.get(LAST_FACT)
            found = await self._redis.xrange(
                FACTS, f"({last.decode()}" if last else "-", count=APPENDED_AT_ONCE
            )
        if found:
            events = [event for entry in found if (event := _event(*entry)) is not None]
            await self._append(events, found[-1][0].decode())
        return len(found)


class WebhookSender:
    """Posts the events of one URL while this gateway holds the queue's lease."""

    def __init__(
        self, redis: Redis, url: str, *, key: str, secret: str, timeout_seconds: float
    ) -> None:
        self._redis = redis
        self._url = url
        # The path may contain a secret, which logs must not have.
        self._host = urlsplit(url).hostname
        self._key = key
        self._secret = secret.encode()
        self._timeout = timeout_seconds
        self._stream, self._size = _keys(url)
        self._lease = Lease(redis, self._stream + ":lease", timeout_seconds=timeout_seconds)
        self._delete = redis.register_script(_DELETE)
        self._delay = FIRST_DELAY_SECONDS
        self._due = 0.0

    async def run(self) -> None:
        """Post events for ever. Raises errors of Redis; the next call continues."""
        async with httpx.AsyncClient(
            timeout=POST_SECONDS, follow_redirects=False, trust_env=False
        ) as client:
            try:
                while True:
                    if not await self._lease.hold(LEASE_MS):
                        await asyncio.sleep(LEASE_MS / 4_000)
                    elif time.monotonic() < self._due:
                        await asyncio.sleep(IDLE_SECONDS)
                    else:
                        self._due = time.monotonic() + await self._turn(client)
            finally:
                await self._lease.release()

    async def _turn(self, client: httpx.AsyncClient) -> float:
        """Post the oldest events once. Returns the seconds to wait before the next turn."""
        batch = await self._oldest()
        if not batch:
            return IDLE_SECONDS
        if await self._post(client, [one.body for one in batch]):
            self._delay = FIRST_DELAY_SECONDS
            await self._remove(batch, "posted")
            return 0
        FAILED.inc()
        too_old = (time.time() - RETRY_SECONDS) * 1_000
        given_up = [one for one in batch if int(one.id.split(b"-")[0]) < too_old]
        if given_up:
            log.error("webhook events dropped", host=self._host, events=len(given_up))
            await self._remove(given_up, "dropped")
        delay = self._delay * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
        self._delay = min(2 * self._delay, MAX_DELAY_SECONDS)
        return delay

    async def _oldest(self) -> list[Queued]:
        async with asyncio.timeout(self._timeout):
            found = await self._redis.xrange(self._stream, count=MAX_EVENTS)
        batch: list[Queued] = []
        size = 0
        for entry_id, fields in found:
            size += len(fields[b"e"])
            if batch and size > MAX_REQUEST_BYTES:
                break
            batch.append(Queued(entry_id, fields[b"e"]))
        return batch

    async def _post(self, client: httpx.AsyncClient, events: Sequence[bytes]) -> bool:
        body = b'{"time_ms":%d,"events":[%s]}' % (time.time_ns() // 1_000_000, b",".join(events))
        headers = {
            "content-type": "application/json",
            "x-pusher-key": self._key,
            "x-pusher-signature": hmac.new(self._secret, body, hashlib.sha256).hexdigest(),
        }
        try:
            # httpx's timeout bounds each read; this one bounds the whole exchange.
            async with (
                asyncio.timeout(POST_SECONDS),
                client.stream("POST", self._url, content=body, headers=headers) as response,
            ):
                accepted = response.is_success
                reason = str(response.status_code)
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            accepted, reason = False, type(error).__name__
        if not accepted:
            log.warning("webhook not accepted", host=self._host, reason=reason, events=len(events))
        return accepted

    async def _remove(self, batch: Sequence[Queued], outcome: str) -> None:
        async with asyncio.timeout(self._timeout):
            await self._delete(keys=[self._stream, self._size], args=[one.id for one in batch])
        POSTED.labels(outcome).inc(len(batch))


def _keys(url: str) -> tuple[str, str]:
    """The keys of a URL's queue: its stream, and the bytes of its events."""
    name = KEY_PREFIX + hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
    return name, name + ":bytes"
