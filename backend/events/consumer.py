"""Consumers of the event stream: each event's effect once, in the order of the stream, whatever is delivered twice.

The effect and the inbox row (consumer, event id) are one transaction; the entry is acknowledged after the commit. So a
crash anywhere leads to a repeat that the inbox turns away. An event whose handler fails is tried a few times, then
copied to the dead letters and acknowledged, so that its neighbours flow; a store that can't be reached is nobody's
fault and counts for nothing.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from backend.events.catalogue import Event
from backend.events.stream import STREAM, bury, read
from backend.kernel import database
from backend.kernel.database import Connection, Pool
from backend.kernel.supervised import heartbeat

log = structlog.get_logger()

Handler = Callable[[Connection, Event], Awaitable[None]]
Entry = tuple[bytes, dict[bytes, bytes]]

BATCH = 100
BLOCK_MS = 1000
MAX_TRIES = 5
RETRY_SECONDS = 0.5
# An entry that its consumer has had this long belongs to a dead one.
CLAIM_IDLE_MS = 15_000

HANDLED = Counter("gittix_events_handled", "Events handled", ["consumer", "outcome"])


class Consumer:
    """One process's part in a consumer group. `schema` has the inbox; `pool` is its owner's."""

    def __init__(
        self, name: str, redis: Redis, pool: Pool, schema: str, handler: Handler, *, types: frozenset[str]
    ) -> None:
        self.name = name
        self._redis = redis
        self._pool = pool
        self._schema = schema
        self._handler = handler
        self._types = types
        self._member = f"{socket.gethostname()}-{os.getpid()}"
        self._tries = f"gittix:events:tries:{name}"

    async def run(self) -> None:
        """Consume until cancelled. First what this member and dead ones left unfinished, then new."""
        while True:
            try:
                await self._ensure_group()
                await self._claim()
                await self._drain("0")
                claim_at = _now() + CLAIM_IDLE_MS / 1000
                while _now() < claim_at:
                    heartbeat(f"consumer-{self.name}")
                    if await self._read(">", block=BLOCK_MS):
                        await self._drain("0")
            except ResponseError as fault:
                # The stream or the group is gone with Redis' data: from the start; the inbox knows what was done.
                if "NOGROUP" not in str(fault):
                    raise
                log.warning("the consumer group is gone", consumer=self.name)

    async def _ensure_group(self) -> None:
        try:
            await self._redis.xgroup_create(STREAM, self.name, id="0", mkstream=True)
        except ResponseError as fault:
            if "BUSYGROUP" not in str(fault):
                raise

    async def _drain(self, start: str) -> None:
        """Work off this member's pending entries, with a pause between tries of one that fails."""
        while True:
            count, failed = await self._take(start)
            if count == 0:
                return
            if failed:
                await asyncio.sleep(RETRY_SECONDS)

    async def _take(self, start: str) -> tuple[int, int]:
        entries = await self._entries(start, block=None)
        return len(entries), await self.handle(entries) if entries else 0

    async def _read(self, start: str, *, block: int) -> bool:
        """Handle new entries. Returns whether some failed and are pending."""
        entries = await self._entries(start, block=block)
        return bool(entries) and await self.handle(entries) > 0

    async def _entries(self, start: str, *, block: int | None) -> list[Entry]:
        streams = await self._redis.xreadgroup(
            self.name, self._member, {STREAM: start}, count=BATCH, block=block
        )
        return [(entry_id, fields or {}) for _, entries in streams or [] for entry_id, fields in entries]

    async def _claim(self) -> None:
        """Make what dead members left pending this member's own. The entries are nil where one was deleted: not used."""
        cursor: Any = "0-0"
        while True:
            cursor, *_ = await self._redis.xautoclaim(
                STREAM, self.name, self._member, CLAIM_IDLE_MS, cursor, count=BATCH
            )
            if cursor in {b"0-0", "0-0"}:
                return

    async def handle(self, entries: Sequence[Entry]) -> int:
        """Handle and acknowledge entries, in order. Returns how many failed and stay pending."""
        wanted = []
        done = []
        for entry_id, fields in entries:
            event = read(entry_id, fields)
            if event is None and fields:
                await self._bury(entry_id, fields, "not an event")
            elif event is None or event.type not in self._types:
                done.append(entry_id)
            else:
                wanted.append((entry_id, fields, event))
        failed = 0
        try:
            await self._apply([event for _, _, event in wanted])
            done += [entry_id for entry_id, _, _ in wanted]
        except database.UNAVAILABLE:
            raise
        except Exception:
            # One of them is bad: each by itself, so that the others are done.
            for entry_id, fields, event in wanted:
                if await self._alone(entry_id, fields, event):
                    done.append(entry_id)
                else:
                    failed += 1
        if done:
            await self._redis.xack(STREAM, self.name, *done)
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
                    await self._handler(connection, event)
                    fresh.remove(event.envelope.id)
        HANDLED.labels(self.name, "done").inc(len(events))

    async def _alone(self, entry_id: bytes, fields: dict[bytes, bytes], event: Event) -> bool:
        """Try one event by itself. True when it is done with: handled, or buried after its last try."""
        try:
            await self._apply([event])
        except (*database.UNAVAILABLE, RedisError):
            raise
        except Exception as fault:
            tries = int(await self._redis.hincrby(self._tries, entry_id.decode(), 1))  # type: ignore[misc]
            log.warning(
                "event not handled",
                consumer=self.name,
                event_id=str(event.envelope.id),
                type=event.type,
                tries=tries,
                error=repr(fault),
                exc_info=True,
            )
            HANDLED.labels(self.name, "failed").inc()
            if tries < MAX_TRIES:
                return False
            await self._bury(entry_id, fields, repr(fault))
        await self._redis.hdel(self._tries, entry_id.decode())  # type: ignore[misc]
        return True

    async def _bury(self, entry_id: bytes, fields: dict[bytes, bytes], reason: str) -> None:
        """Copy to the dead letters, then acknowledge: a crash between the two leaves a second copy, never none."""
        await bury(self._redis, self.name, entry_id, fields, reason)
        await self._redis.xack(STREAM, self.name, entry_id)
        HANDLED.labels(self.name, "buried").inc()


def _now() -> float:
    return asyncio.get_running_loop().time()
