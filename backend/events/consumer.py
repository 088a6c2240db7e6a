"""Consumers of the event stream: each event takes effect once, in stream order, however often it is
delivered.

The effect and the inbox row (consumer, event id) are one transaction; the entry is acknowledged
after the commit. A crash at any point therefore causes a redelivery, and the inbox discards it. An
event whose handler raises is tried MAX_TRIES times with a pause, then copied to the dead letters
and acknowledged. An unreachable database or Redis is not the event's error and does not count as a
try. `gittix events redrive` appends dead letters to a redrive stream, one for each consumer; their
entries are handled in the same way and are deleted once they are acknowledged.

A failed event blocks no other: during its pause the consumer handles other events, so newer events
of the same subject may overtake it. The same holds for redriven events. A handler therefore applies
only versions newer than the stored one.
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
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from backend.events.catalogue import Event, log_fields
from backend.events.stream import REDRIVE_PREFIX, STREAM, add_dead_letter, read_event
from backend.kernel import correlation, database, tracing
from backend.kernel.database import Connection, Pool
from backend.kernel.shutdown import finish_before_cancel
from backend.kernel.supervisor import heartbeat

log = structlog.get_logger()

Handler = Callable[[Connection, Event], Awaitable[None]]
Entry = tuple[bytes, dict[bytes, bytes]]

BATCH = 100
BLOCK_MS = 1000
MAX_TRIES = 5
RETRY_SECONDS = 0.5
# With this many events waiting for a retry, the error is the handler's, not one event's: reading
# new events pauses.
MAX_RETRIES = 500
# Under load, reads start this far apart, so that events arriving in between share one transaction.
# A single event is read without delay.
SPACING_SECONDS = 0.02
# A member that has not acknowledged an entry for this long counts as dead; another member claims
# the entry.
CLAIM_IDLE_MS = 15_000

# At shutdown, the time limit for handling the entries already delivered to this member.
DRAIN_SECONDS = 5.0

# KEYS[1] stream; ARGV[1] group, ARGV[2] member. DELCONSUMER discards the member's pending entries,
# so the member is removed only when it has none.
_REMOVE_MEMBER = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
"""

HANDLED = Counter("gittix_events_handled", "Events handled", ["consumer", "outcome"])


class Delivery(NamedTuple):
    """An event delivered to this member, from the event stream or from the redrive stream."""

    stream: str
    entry_id: bytes
    fields: dict[bytes, bytes]
    event: Event


class Consumer:
    """One process's member of a consumer group.

    `schema` holds the inbox; `pool` connects as that schema's role.
    """

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
        self._streams = (STREAM, REDRIVE_PREFIX + name)
        self._remove_member = redis.register_script(_REMOVE_MEMBER)
        # One hash for both streams. The ids cannot collide: on the event stream an id is
        # `<epoch>-<position>` with a small epoch, on the redrive stream it starts with
        # milliseconds.
        self._tries = f"gittix:events:tries:{name}"
        # The retry time of each failed delivery, soonest first. The entries stay pending in Redis,
        # so a crash loses none.
        self._retries: dict[tuple[str, bytes], tuple[float, Delivery]] = {}

    async def run(self) -> None:
        """Consume until cancelled: first pending entries of this and dead members, then new."""
        try:
            await self._consume()
        except asyncio.CancelledError:
            await finish_before_cancel(self._drain_and_leave(), seconds=DRAIN_SECONDS)
            raise

    async def _consume(self) -> None:
        self._retries.clear()
        while True:
            try:
                await self._ensure_groups()
                await self._claim_abandoned()
                await self._handle_pending()
                claim_at = _now() + CLAIM_IDLE_MS / 1000
                while _now() < claim_at:
                    await self._retry_due()
                    await self._handle_new()
                    heartbeat(self.task)
            except ResponseError as error:
                # Redis lost its data, the stream or the group with it. Start over at the first
                # entry: the inbox discards the events that were handled before.
                if "NOGROUP" not in str(error):
                    raise
                log.warning("consumer group lost; reading from the start", consumer=self.name)
                self._retries.clear()

    async def _drain_and_leave(self) -> None:
        """Handle the entries delivered to this member, then remove the member from its groups.

        Otherwise these entries would wait for CLAIM_IDLE_MS until another member claims them.
        """
        try:
            await self._handle_pending()
            for stream in self._streams:
                await self._remove_member(keys=[stream], args=[self.name, self._member])
        except (*database.UNAVAILABLE, RedisError) as error:
            # Another member claims the remaining entries.
            log.info("consumer stopped with entries pending", consumer=self.name, error=repr(error))

    async def _ensure_groups(self) -> None:
        for stream in self._streams:
            try:
                await self._redis.xgroup_create(stream, self.name, id="0", mkstream=True)
            except OutOfMemoryError:
                # A full Redis refuses the command also for a group that exists. The consumer must
                # still read and acknowledge, so that the relay can trim the stream.
                if not await self._has_group(stream):
                    raise
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    async def _has_group(self, stream: str) -> bool:
        groups = await self._redis.xinfo_groups(stream) if await self._redis.exists(stream) else []
        return self.name.encode() in {group["name"] for group in groups}

    async def _claim_abandoned(self) -> None:
        """Claim the pending entries of dead members for this member.

        XAUTOCLAIM returns the entries too, with nil for deleted ones; `_handle_pending` reads them
        again instead.
        """
        for stream in self._streams:
            cursor: Any = "0-0"
            while True:
                cursor, *_ = await self._redis.xautoclaim(
                    stream, self.name, self._member, CLAIM_IDLE_MS, cursor, count=BATCH
                )
                if cursor in {b"0-0", "0-0"}:
                    break

    async def _handle_pending(self) -> None:
        """Handle this member's pending entries, except those whose retry is not due yet."""
        for stream in self._streams:
            start = "0"
            while found := await self._read({stream: start}, block=None):
                ((_, entries),) = found
                await self.handle(
                    [one for one in entries if (stream, one[0]) not in self._retries], stream
                )
                await self._delete_tries(
                    entry_id for entry_id, _ in entries if (stream, entry_id) not in self._retries
                )
                start = entries[-1][0].decode()

    async def _handle_new(self) -> None:
        """Handle new entries, or wait for them until the next retry is due."""
        wait = min(BLOCK_MS / 1000, self._next_due() - _now())
        if len(self._retries) >= MAX_RETRIES:
            await asyncio.sleep(max(0.0, wait))
            return
        spaced_at = _now() + SPACING_SECONDS
        # Redis reads BLOCK 0 as "wait forever", so block for at least 1 ms.
        new = await self._read(dict.fromkeys(self._streams, ">"), block=max(1, int(wait * 1000)))
        for stream, entries in new:
            await self.handle(entries, stream)
        if new and len(new[0][1]) < BATCH:
            await asyncio.sleep(max(0.0, min(spaced_at, self._next_due()) - _now()))

    def _next_due(self) -> float:
        """Return the time of the next retry; infinity when there is none."""
        return next((due_at for due_at, _ in self._retries.values()), float("inf"))

    async def _read(
        self, streams: dict[str, str], *, block: int | None
    ) -> list[tuple[str, list[Entry]]]:
        """Return the entries read, for each stream that has any."""
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
        """Handle and acknowledge entries, in order.

        Returns the number that failed and stay pending.
        """
        wanted = []
        done = []
        for entry_id, fields in entries:
            event = read_event(entry_id, fields)
            if event is None and fields:
                await self._dead_letter(stream, entry_id, fields, "not an event")
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
            # One event of the batch failed and rolled back all: handle each in its own transaction.
            for delivery in wanted:
                failed += not await self._handle_alone(delivery)
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
                        await self._run_handler(connection, event)
                    fresh.remove(event.envelope.id)
        HANDLED.labels(self.name, "done").inc(len(events))

    async def _run_handler(self, connection: Connection, event: Event) -> None:
        began = time.time()
        await self._handler(connection, event)
        if tracing.enabled():
            tracing.record_span(
                f"consumer {self.name} {event.type}", event.envelope.correlation_id, began
            )
        if log.is_enabled_for(logging.DEBUG):
            log.debug("event handled", consumer=self.name, **log_fields(event))

    async def _retry_due(self) -> None:
        """Handle the failed deliveries whose retry is due, each in its own transaction."""
        now = _now()
        for delivery in [delivery for due_at, delivery in self._retries.values() if due_at <= now]:
            await self._handle_alone(delivery)

    async def _handle_alone(self, delivery: Delivery) -> bool:
        """Handle one event in its own transaction.

        Returns True when it needs no further try: it was handled, or its last try failed and it is
        a dead letter.
        """
        key = delivery.stream, delivery.entry_id
        try:
            await self._apply([delivery.event])
        except (*database.UNAVAILABLE, RedisError):
            raise
        except Exception as error:
            if await self._count_failure(delivery, error) < MAX_TRIES:
                self._retries.pop(key, None)
                self._retries[key] = _now() + RETRY_SECONDS, delivery
                return False
            await self._dead_letter(
                delivery.stream, delivery.entry_id, delivery.fields, repr(error)
            )
        else:
            await self._acknowledge(delivery.stream, [delivery.entry_id])
        self._retries.pop(key, None)
        await self._delete_tries([delivery.entry_id])
        return True

    async def _count_failure(self, delivery: Delivery, error: Exception) -> int:
        """Count a failed try in Redis, so that a crash does not reset the count.

        Returns the number of tries.
        """
        entry_id = delivery.entry_id.decode()
        tries = int(await self._redis.hincrby(self._tries, entry_id, 1))  # type: ignore[misc]
        log.warning(
            "event not handled",
            consumer=self.name,
            **log_fields(delivery.event),
            tries=tries,
            error=repr(error),
            exc_info=error if tries == 1 else None,
        )
        HANDLED.labels(self.name, "failed").inc()
        return tries

    async def _delete_tries(self, entry_ids: Iterable[bytes]) -> None:
        if names := [entry_id.decode() for entry_id in entry_ids]:
            await self._redis.hdel(self._tries, *names)  # type: ignore[misc]

    async def _dead_letter(
        self, stream: str, entry_id: bytes, fields: dict[bytes, bytes], reason: str
    ) -> None:
        """Copy an entry to the dead letters, then acknowledge it.

        In this order a crash between the two causes a second copy. In the other order it would lose
        the entry.
        """
        await add_dead_letter(self._redis, self.name, entry_id, fields, reason)
        await self._acknowledge(stream, [entry_id])
        HANDLED.labels(self.name, "buried").inc()

    async def _acknowledge(self, stream: str, entry_ids: Sequence[bytes]) -> None:
        if not entry_ids:
            return
        if stream == STREAM:
            await self._redis.xack(stream, self.name, *entry_ids)
            return
        # Only this consumer reads its redrive stream, so the entry can be deleted.
        async with self._redis.pipeline(transaction=True) as commands:
            commands.xack(stream, self.name, *entry_ids)
            commands.xdel(stream, *entry_ids)
            await commands.execute()
        HANDLED.labels(self.name, "redriven").inc(len(entry_ids))


def _now() -> float:
    return asyncio.get_running_loop().time()
