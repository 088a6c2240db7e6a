"""The reader of ended sessions, on real Postgres."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from backend.auth import service
from backend.kernel.ended_sessions import TASK, EndedSessions
from backend.kernel.problems import Unavailable
from backend.kernel.supervisor import running
from tests.system import System, until

LONG_AGO = 1.0


@asynccontextmanager
async def reading(system: System, **options: Any) -> AsyncIterator[EndedSessions]:
    ended = EndedSessions(
        system.settings.role_database_url("orders"), access_seconds=300, **options
    )
    async with running((TASK, ended.run), max_delay=0.2):
        await ended.until_current()
        yield ended


async def session(rows: Any, *, lifetime: str = "1 day") -> UUID:
    """The id of a new session with a refresh token of this lifetime."""
    created: UUID = await rows.fetchval(
        """
        with u as (
            insert into auth.users (email, name, password_hash)
            values (gen_random_uuid() || '@example.com', 'x', 'x') returning id
        ), s as (
            insert into auth.sessions (user_id, last_used_at)
            select id, now() - interval '40 days' from u returning id
        ), t as (
            insert into auth.refresh_tokens (hash, session_id, expires_at)
            select sha256(id::text::bytea), id, now() + $1::text::interval from s
        )
        select id from s
        """,
        lifetime,
    )
    return created


async def end(rows: Any, session_id: UUID) -> None:
    await rows.execute("update auth.sessions set revoked_at = now() where id = $1", session_id)


async def known(ended: EndedSessions, session_id: UUID, *, seconds: float = 1.0) -> bool:
    """Whether the end is known within this time."""

    async def refused() -> bool:
        return ended.refuses(session_id, time.time() + 60)

    try:
        return bool(await until(refused, seconds=seconds))
    except TimeoutError:
        return False


async def test_an_end_is_known_within_a_second_and_a_live_session_never(system: System) -> None:
    rows = await system.connect()
    over, live = await session(rows), await session(rows)
    async with reading(system) as ended:
        await end(rows, over)
        assert await known(ended, over)
        assert not ended.refuses(live, time.time())


async def test_an_end_that_commits_after_a_later_one_is_known(system: System) -> None:
    slow, fast = await system.connect(), await system.connect()
    first, second = await session(slow), await session(fast)
    async with reading(system) as ended:
        async with slow.transaction():
            await end(slow, first)
            await end(fast, second)
            assert await known(ended, second)
            assert not await known(ended, first, seconds=0.6)
        assert await known(ended, first)


async def test_a_reader_that_starts_later_knows_the_ends_of_the_window(system: System) -> None:
    rows = await system.connect()
    recent, older = await session(rows), await session(rows)
    await end(rows, recent)
    await end(rows, older)
    await rows.execute(
        "update auth.ended_sessions set ended_at = now() - interval '1 hour' where session_id = $1",
        older,
    )
    async with reading(system) as ended:
        assert ended.refuses(recent, time.time())
        assert not ended.refuses(older, time.time())
        # A token from before the window has expired; a longer-lived one is refused too.
        assert ended.refuses(older, time.time() - 3600)


async def test_a_reader_knows_what_it_missed_while_it_could_not_read(system: System) -> None:
    rows = await system.connect()
    missed = await session(rows)
    heard: list[Collection[UUID] | None] = []
    async with reading(system) as ended:
        ended.listen(heard.append)
        await rows.execute("revoke execute on function auth.ended_since from gittix_orders")
        await until(lambda: _is(not ended.is_current))
        await end(rows, missed)
        with pytest.raises(Unavailable):
            await ended.until_current(0.5)
        # It is older than the window by the time that reads work again, but newer than the last.
        ended._window -= ended._window
        await rows.execute("grant execute on function auth.ended_since to gittix_orders")
        await ended.until_current(5)
        assert [set(each or ()) for each in heard] == [{missed}]


async def test_more_ends_than_the_bound_refuse_the_older_tokens(system: System) -> None:
    rows = await system.connect()
    sessions = [await session(rows) for _ in range(5)]
    live = await session(rows)
    async with reading(system, max_sessions=3) as ended:
        heard: list[Collection[UUID] | None] = []
        ended.listen(heard.append)
        issued_before = time.time()
        async with rows.transaction():
            for each in sessions:
                await end(rows, each)
        assert await known(ended, sessions[-1])
        assert len(ended._ended) <= 3
        assert all(ended.refuses(each, issued_before) for each in sessions)
        assert ended.refuses(live, issued_before)
        assert not ended.refuses(live, time.time() + 1)
        assert None in heard


async def test_deleting_an_account_ends_its_session_and_purging_an_expired_one_does_not(
    system: System,
) -> None:
    rows = await system.connect()
    deleted, expired = await session(rows), await session(rows, lifetime="-1 day")
    await rows.execute(
        "delete from auth.users where id = (select user_id from auth.sessions where id = $1)",
        deleted,
    )
    await service.purge(await system.connect("auth"), timedelta(days=30))
    assert await rows.fetchval("select count(*) from auth.sessions") == 0
    recorded = await rows.fetch("select session_id from auth.ended_sessions")
    assert [row["session_id"] for row in recorded] == [deleted]
    assert expired != deleted


async def test_ends_are_purged_after_two_days(system: System) -> None:
    rows = await system.connect()
    for age in ("1 day", "3 days"):
        over = await session(rows)
        await end(rows, over)
        await rows.execute(
            "update auth.ended_sessions set ended_at = now() - $2::text::interval"
            " where session_id = $1",
            over,
            age,
        )
    await service.purge(await system.connect("auth"), timedelta(days=30))
    assert await rows.fetchval("select count(*) from auth.ended_sessions") == 1


async def test_a_reader_that_was_not_run_is_not_current() -> None:
    ended = EndedSessions("postgres://unread", access_seconds=300)
    assert not ended.is_current
    with pytest.raises(Unavailable):
        await ended.until_current(0.05)
    assert not ended.refuses(UUID(int=1), LONG_AGO)


async def test_a_read_costs_one_statement_on_an_index(system: System) -> None:
    """However many ends are kept, a read fetches only those of unseen transactions."""
    rows = await system.connect()
    await rows.execute(
        "insert into auth.ended_sessions (session_id, xid) select gen_random_uuid(), '1'"
        " from generate_series(1, 20000)"
    )
    await rows.execute("analyze auth.ended_sessions")
    async with reading(system, max_sessions=100_000) as ended:
        await asyncio.sleep(0.6)
        before = await rows.fetchval(
            "select idx_tup_read from pg_stat_all_indexes where indexrelname = 'ended_sessions_xid'"
        )
        await asyncio.sleep(1.0)
        await rows.execute("select pg_stat_force_next_flush()")
        after = await rows.fetchval(
            "select idx_tup_read from pg_stat_all_indexes where indexrelname = 'ended_sessions_xid'"
        )
        assert ended.is_current
        assert after - before < 20_000


async def _is(value: bool) -> bool:
    return value
