"""Plausible faults, planted in production code: negative controls that the search for crash faults
must find.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from backend.auth import queries as accounts
from backend.auth.model import Account
from backend.events.consumer import Consumer, Entry
from backend.events.stream import START, STREAM, EntryId, EventStream
from backend.kernel import database, idempotency
from backend.kernel.database import Connection, Pool
from backend.payments import payment_steps
from backend.payments.model import Payment
from backend.payments.provider import Intent, Provider
from backend.push import publisher, push_log
from backend.push.publisher import Publisher, PublisherState
from tests.crash.crash_points import caller

LATE_SECONDS = 0.1
# Longer than the order takes to finish on a busy machine.
LATE_CAPTURE_SECONDS = 0.4
_running: set[asyncio.Task[None]] = set()


def reply_before_commit() -> None:
    """The seller gets the reply that the ticket is withdrawn before the transaction commits."""

    @asynccontextmanager
    async def transaction(pool: Pool) -> AsyncIterator[Connection]:
        if caller() != "tickets.routes.withdraw_ticket":
            async with database.transaction(pool) as connection:
                yield connection
            return
        connection = await pool.acquire()
        own = connection.transaction()
        await own.start()
        yield connection
        _later(_commit(pool, connection, own))

    stand_in = SimpleNamespace(transaction=transaction, connection=database.connection)
    # By setattr, since mypy rejects an assignment to a module's import.
    setattr(idempotency, "database", stand_in)  # noqa: B010


async def _commit(pool: Pool, connection: Any, own: Any) -> None:
    await asyncio.sleep(LATE_SECONDS)
    await own.commit()
    await pool.release(connection)


def finish_before_capture() -> None:
    """The order is completed first, and the money is captured a little later."""
    capture = Provider.capture

    async def take(self: Provider, intent_id: str) -> None:
        await asyncio.sleep(LATE_CAPTURE_SECONDS)
        await capture(self, intent_id)

    async def captured(self: Provider, intent_id: str) -> Intent:
        _later(take(self, intent_id))
        return await self.retrieve(intent_id)

    setattr(Provider, "capture", captured)  # noqa: B010 - mypy takes no assignment to a method


def mark_before_append() -> None:
    """The relay records its own position and writes it before it appends to the stream."""
    append, last = EventStream.append, EventStream.last

    async def marked(
        self: EventStream, _expected: EntryId, entries: Sequence[tuple[EntryId, bytes]]
    ) -> tuple[EntryId, bool]:
        await self._redis.set("planted:published", str(entries[-1][0]))
        return await append(self, await last(self), entries)

    async def mark(self: EventStream) -> EntryId:
        found = await self._redis.get("planted:published")
        return EntryId.parse(found) if found else START

    setattr(EventStream, "append", marked)  # noqa: B010
    setattr(EventStream, "last", mark)  # noqa: B010


def acknowledge_before_effect() -> None:
    handle = Consumer.handle

    async def acknowledged(self: Consumer, entries: Sequence[Entry], stream: str = STREAM) -> int:
        await self._redis.xack(stream, self.name, *(entry_id for entry_id, _ in entries))
        return await handle(self, entries, stream)

    setattr(Consumer, "handle", acknowledged)  # noqa: B010


def publish_without_position() -> None:
    """The push position is recorded only in Postgres, after the messages are published."""
    state = Publisher.state
    check = "if tonumber(ARGV[4]) > recorded then"
    assert check in push_log.PUBLISH
    # By setattr, since PUBLISH is Final.
    setattr(publisher, "PUBLISH", push_log.PUBLISH.replace(check, "if true then"))  # noqa: B010

    async def without(self: Publisher) -> PublisherState:
        found = await state(self)
        return PublisherState(found.epoch, found.appended, 0)

    setattr(Publisher, "state", without)  # noqa: B010


def check_then_insert() -> None:
    """An account is inserted when a query found none, without a unique index."""

    async def add(
        connection: Connection, email: str, handle: str | None, password_hash: str
    ) -> Account | None:
        if await accounts.find_account(connection, email):
            return None
        await connection.execute(
            "insert into auth.users (email, handle, password_hash) values ($1, $2, $3)",
            email,
            handle,
            password_hash,
        )
        return await accounts.find_account(connection, email)

    setattr(accounts, "add_user", add)  # noqa: B010


def every_attempt_is_current() -> None:
    """An attempt does not check whether a later attempt uses its intent."""

    async def skip_the_check(_connection: Connection, _payment: Payment) -> None:
        return

    setattr(payment_steps, "_check_current", skip_the_check)  # noqa: B010


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault
    for fault in (
        reply_before_commit,
        finish_before_capture,
        mark_before_append,
        acknowledge_before_effect,
        publish_without_position,
        check_then_insert,
        every_attempt_is_current,
    )
}


def _later(work: Any) -> None:
    task = asyncio.create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
