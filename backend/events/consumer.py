"""Consumers of the event stream: each event's effect once, in the order of the stream, whatever is delivered twice.

The effect and the inbox row (consumer, event id) are one transaction; the entry is acknowledged after the commit. So a
crash anywhere leads to a repeat that the inbox turns away. An event whose handler fails is tried a few times with a
pause, then copied to the dead letters and acknowledged; a store that can't be reached is nobody's fault and counts for
nothing. What a person sent back from the dead letters comes on a stream of this consumer's own, is handled in the same
way, and is deleted from there once it is acknowledged.

Nothing waits for an event that failed: while it pauses, its neighbours and new events are handled, so it may be overtaken
by newer events of the same subject, as may one that was sent back. A handler applies what is newer than what it has.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from backend.events.catalogue import Event, named
from backend.events.stream import AGAIN, STREAM, bury, read
from backend.kernel import correlation, database, tracing
from backend.kernel.database import Connection, Pool
from backend.kernel.shutdown import whole
from backend.kernel.supervisor import heartbeat

log = structlog.get_logger()

Handler = Callable[[Connection, Event], Awaitable[None]]
Entry = tuple[bytes, dict[bytes, bytes]]

BATCH = 100
BLOCK_MS = 1000
MAX_TRIES = 5
RETRY_SECONDS = 0.5
# When so many wait for another try it is no poison but the handler: new events wait as well.
MAX_WAITING = 500
# Under load, reads are this far apart: what comes meanwhile shares one transaction. A lone event waits for none.
SPACING_SECONDS = 0.02
# An entry that its consumer has had this long belongs to a dead one.
CLAIM_IDLE_MS = 15_000

# What a consumer does with what it was given, when it is asked to end.
LEAVE_SECONDS = 5.0

# KEYS[1] stream; ARGV[1] group, ARGV[2] member. Whom Redis forgets, it forgets with all that is pending.
_FORGET_MEMBER = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
"""

HANDLED = Counter("gittix_events_handled", "Events handled", ["consumer", "outcome"])


class Delivery(NamedTuple):
    """An event as it was given to this member: on the event stream, or sent back."""

    stream: str
    entry_id: bytes
    fields: dict[bytes, bytes]
    event: Event


class Consumer:
    """One process's part in a consumer group. `schema` has the inbox; `pool` is its owner's."""

    def __init__(
        self,
        name: str,
        redis: Redis,
        pool: Pool,
        schema: str,
        handler: Handler,
        *,
        types: frozenset[str],
    ) -> None:
        self.name = name
        self.task = f"consumer-{name}"
        self._redis = redis
        self._pool = pool
        self._schema = schema
        self._handler = handler
        self._types = types
        self._member = f"{socket.gethostname()}-{os.getpid()}"
        self._streams = (STREAM, AGAIN + name)
        self._forget_member = redis.register_script(_FORGET_MEMBER)
        # By entry id: those of the event stream count from one, those of the other are milliseconds.
        self._tries = f"gittix:events:tries:{name}"
        # When each failed delivery is due again, soonest first. Redis has them as pending, so a crash loses none.
        self._waiting: dict[tuple[str, bytes], tuple[float, Delivery]] = {}

    async def run(self) -> None:
        """Consume until cancelled. First what this member and dead ones left unfinished, then new."""
        try:
            await self._consume()
        except asyncio.CancelledError:
            await whole(self._leave(), seconds=LEAVE_SECONDS)
            raise

    async def _consume(self) -> None:
        self._waiting.clear()
        while True:
            try:
                await self._ensure_groups()
                await self._claim()
                await self._take_up()
                claim_at = _now() + CLAIM_IDLE_MS / 1000
                while _now() < claim_at:
                    await self._retry()
                    await self._take_new()
                    heartbeat(self.task)
            except ResponseError as fault:
                # The stream or the group is gone with Redis' data: from the start; the inbox knows what was done.
                if "NOGROUP" not in str(fault):
                    raise
                log.warning("the consumer group is gone", consumer=self.name)
                self._waiting.clear()

    async def _leave(self) -> None:
        """Do what this member was given, so that it waits for nobody; then the group knows it no more."""
        try:
            await self._take_up()
            for stream in self._streams:
                await self._forget_member(keys=[stream], args=[self.name, self._member])
        except (*database.UNAVAILABLE, RedisError) as fault:
            # Whatever is left is claimed by another member.
            log.info("left with work undone", consumer=self.name, error=repr(fault))

    async def _ensure_groups(self) -> None:
        for stream in self._streams:
            try:
                await self._redis.xgroup_create(stream, self.name, id="0", mkstream=True)
            except ResponseError as fault:
                if "BUSYGROUP" not in str(fault):
                    raise

    async def _claim(self) -> None:
        """Make what dead members left pending this member's own. The entries are nil where one was deleted: not used."""
        for stream in self._streams:
            cursor: Any = "0-0"
            while True:
                cursor, *_ = await self._redis.xautoclaim(
                    stream, self.name, self._member, CLAIM_IDLE_MS, cursor, count=BATCH
                )
                if cursor in {b"0-0", "0-0"}:
                    break

    async def _take_up(self) -> None:
        """Handle this member's pending entries, but for those that wait for their time."""
        for stream in self._streams:
            start = "0"
            while found := await self._read({stream: start}, block=None):
                ((_, entries),) = found
                await self.handle(
                    [one for one in entries if (stream, one[0]) not in self._waiting], stream
                )
                await self._forget_tries(
                    entry_id for entry_id, _ in entries if (stream, entry_id) not in self._waiting
                )
                start = entries[-1][0].decode()

    async def _take_new(self) -> None:
        """Handle what is new, or wait for it as long as nothing else is due."""
        wait = min(BLOCK_MS / 1000, self._next_due() - _now())
        if len(self._waiting) >= MAX_WAITING:
            await asyncio.sleep(max(0.0, wait))
            return
        spaced_at = _now() + SPACING_SECONDS
        # To Redis, no milliseconds are for ever.
        new = await self._read(dict.fromkeys(self._streams, ">"), block=max(1, int(wait * 1000)))
        for stream, entries in new:
            await self.handle(entries, stream)
        if new and len(new[0][1]) < BATCH:
            await asyncio.sleep(max(0.0, min(spaced_at, self._next_due()) - _now()))

    def _next_due(self) -> float:
        """When the next failed delivery is due; for ever when none waits."""
        return next((due_at for due_at, _ in self._waiting.values()), float("inf"))

    async def _read(
        self, streams: dict[str, str], *, block: int | None
    ) -> list[tuple[str, list[Entry]]]:
        """Entries of each stream that has any."""
        found = await self._redis.xreadgroup(
            self.name,
            self._member,
            streams,  # type: ignore[arg-type]
            count=BATCH,
            block=block,
        )
        return [
            (stream.decode(), [(entry_id, fields or {}) for entry_id, fields in entries])
            for stream, entries in found or []
            if entries
        ]

    async def handle(self, entries: Sequence[Entry], stream: str = STREAM) -> int:
        """Handle and acknowledge entries, in order. Returns how many failed and stay pending."""
        wanted = []
        done = []
        for entry_id, fields in entries:
            event = read(entry_id, fields)
            if event is None and fields:
                await self._bury(stream, entry_id, fields, "not an event")
            elif event is None or event.type not in self._types:
                done.append(entry_id)
            else:
                wanted.append(Delivery(stream, entry_id, fields, event))
        failed = 0
        try:
            await self._apply([delivery.event for delivery in wanted])
            done += [delivery.entry_id for delivery in wanted]
        except database.UNAVAILABLE:
            raise
        except Exception:
            # One of them is bad: each by itself, so that the others are done.
            for delivery in wanted:
                failed += not await self._alone(delivery)
        await self._acknowledge(stream, done)
        return failed

    async def _apply(self, events: Sequence[Event]) -> None:
        if not events:
            return
        async with database.transaction(self._pool) as connection:
            rows = await connection.fetch(
                f"""
                insert into {self._schema}.inbox (consumer, event_id) select $1, unnest($2::uuid[])
                on conflict do nothing returning event_id
                """,
                self.name,
                [event.envelope.id for event in events],
            )
            fresh = {row["event_id"] for row in rows}
            for event in events:
                if event.envelope.id in fresh:
                    with correlation.bound(event.envelope.correlation_id):
                        await self._handled(connection, event)
                    fresh.remove(event.envelope.id)
        HANDLED.labels(self.name, "done").inc(len(events))

    async def _handled(self, connection: Connection, event: Event) -> None:
        began = time.time()
        await self._handler(connection, event)
        if tracing.enabled():
            tracing.passed(
                f"consumer {self.name} {event.type}", event.envelope.correlation_id, began
            )
        if log.is_enabled_for(logging.DEBUG):
            log.debug("event handled", consumer=self.name, **named(event))

    async def _retry(self) -> None:
        """Try again, each by itself, what failed and is due."""
        now = _now()
        for delivery in [delivery for due_at, delivery in self._waiting.values() if due_at <= now]:
            await self._alone(delivery)

    async def _alone(self, delivery: Delivery) -> bool:
        """Try one event by itself. True when it is done with: handled, or buried after its last try."""
        place = delivery.stream, delivery.entry_id
        try:
            await self._apply([delivery.event])
        except (*database.UNAVAILABLE, RedisError):
            raise
        except Exception as fault:
            if await self._failed(delivery, fault) < MAX_TRIES:
                self._waiting.pop(place, None)
                self._waiting[place] = _now() + RETRY_SECONDS, delivery
                return False
            await self._bury(delivery.stream, delivery.entry_id, delivery.fields, repr(fault))
        else:
            await self._acknowledge(delivery.stream, [delivery.entry_id])
        self._waiting.pop(place, None)
        await self._forget_tries([delivery.entry_id])
        return True

    async def _failed(self, delivery: Delivery, fault: Exception) -> int:
        """Count a try, where a crash can't lose it. Returns how many there were."""
        tries = int(await self._redis.hincrby(self._tries, delivery.entry_id.decode(), 1))  # type: ignore[misc]
        log.warning(
            "event not handled",
            consumer=self.name,
            **named(delivery.event),
            tries=tries,
            error=repr(fault),
            exc_info=fault if tries == 1 else None,
        )
        HANDLED.labels(self.name, "failed").inc()
        return tries

    async def _forget_tries(self, entry_ids: Iterable[bytes]) -> None:
        if names := [entry_id.decode() for entry_id in entry_ids]:
            await self._redis.hdel(self._tries, *names)  # type: ignore[misc]

    async def _bury(
        self, stream: str, entry_id: bytes, fields: dict[bytes, bytes], reason: str
    ) -> None:
        """Copy to the dead letters, then acknowledge: a crash between the two leaves a second copy, never none."""
        await bury(self._redis, self.name, entry_id, fields, reason)
        await self._acknowledge(stream, [entry_id])
        HANDLED.labels(self.name, "buried").inc()

    async def _acknowledge(self, stream: str, entry_ids: Sequence[bytes]) -> None:
        if not entry_ids:
            return
        if stream == STREAM:
            await self._redis.xack(stream, self.name, *entry_ids)
            return
        # Nobody else reads what was sent back to this one.
        async with self._redis.pipeline(transaction=True) as commands:
            commands.xack(stream, self.name, *entry_ids)
            commands.xdel(stream, *entry_ids)
            await commands.execute()
        HANDLED.labels(self.name, "redriven").inc(len(entry_ids))


def _now() -> float:
    return asyncio.get_running_loop().time()
