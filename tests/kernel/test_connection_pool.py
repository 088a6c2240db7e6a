"""A released connection passes to the longest-waiting task, and no slot is lost."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from backend.kernel import database
from backend.kernel.database import Connection, Pool
from backend.kernel.problems import Conflict
from tests.system import System


@pytest.fixture
async def pool(system: System) -> AsyncIterator[Pool]:
    pool = await database.open_pool(system.settings.database_url, name="slots", size=1)
    yield pool
    await database.close_pool(pool)


async def server(connection: Connection) -> int:
    """The process id of its Postgres backend."""
    pid: int = await connection.fetchval("select pg_backend_pid()")
    return pid


async def use_connection(pool: Pool) -> int:
    async with database.connection(pool) as connection:
        return await server(connection)


async def start_waiting(pool: Pool, count: int) -> list["asyncio.Task[int]"]:
    """Tasks that wait for a connection."""
    tasks = [asyncio.create_task(use_connection(pool)) for _ in range(count)]
    await asyncio.sleep(0.01)
    return tasks


async def test_a_released_connection_passes_to_the_longest_waiting_task(pool: Pool) -> None:
    done: list[str | None] = []
    async with database.connection(pool) as connection:
        own = await server(connection)
        waiting = await start_waiting(pool, 20)
        for task in waiting:
            task.add_done_callback(lambda ended: done.append(ended.get_name()))
    assert await asyncio.gather(*waiting) == [own] * 20
    assert done == [task.get_name() for task in waiting]
    assert await use_connection(pool) == own


async def test_after_a_problem_the_connection_passes_on_without_its_transaction(pool: Pool) -> None:
    async def refused() -> None:
        async with database.transaction(pool) as connection:
            await connection.execute("create table public.undone (id int)")
            waiting.extend(await start_waiting(pool, 1))
            raise Conflict

    waiting: list[asyncio.Task[int]] = []
    own = await use_connection(pool)
    with pytest.raises(Conflict):
        await refused()
    assert await waiting[0] == own
    async with database.connection(pool) as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("select to_regclass('public.undone')") is None


async def test_after_an_unexpected_error_the_connection_is_reset_first(pool: Pool) -> None:
    async def interrupted() -> None:
        async with database.connection(pool) as connection:
            await connection.execute("begin; select set_config('application_name', 'undone', true)")
            waiting.append(asyncio.create_task(named()))
            await asyncio.sleep(0.01)
            raise RuntimeError

    async def named() -> str:
        async with database.connection(pool) as connection:
            name: str = await connection.fetchval("select current_setting('application_name')")
            return name

    waiting: list[asyncio.Task[str]] = []
    with pytest.raises(RuntimeError):
        await interrupted()
    assert await waiting[0] == "slots"


async def test_a_broken_connection_is_not_passed_on(pool: Pool) -> None:
    async def broken() -> None:
        async with database.connection(pool) as connection:
            waiting.extend(await start_waiting(pool, 2))
            await connection.fetchval("select pg_terminate_backend(pg_backend_pid())")

    waiting: list[asyncio.Task[int]] = []
    own = await use_connection(pool)
    with pytest.raises(database.UNAVAILABLE):
        await broken()
    first, second = await asyncio.gather(*waiting)
    assert first == second != own


async def test_a_terminated_connection_is_not_passed_on(pool: Pool) -> None:
    async with database.connection(pool) as connection:
        own = await server(connection)
        (next_one,) = await start_waiting(pool, 1)
        connection.terminate()
    assert await next_one != own


async def test_a_task_cancelled_when_it_gets_a_connection_passes_it_on(pool: Pool) -> None:
    async with database.connection(pool) as connection:
        own = await server(connection)
        first, second = await start_waiting(pool, 2)
    first.cancel()
    assert await second == own
    assert first.cancelled()
    assert await use_connection(pool) == own


@pytest.mark.parametrize("handoff", [True, False])
async def test_with_and_without_handoff_every_waiting_task_gets_a_connection(
    system: System, *, handoff: bool
) -> None:
    pool = await database.open_pool(
        system.settings.database_url, name="slots", size=2, handoff=handoff
    )
    assert len(set(await asyncio.gather(*await start_waiting(pool, 20)))) <= 2
    assert await use_connection(pool)
    await database.close_pool(pool)


async def test_a_cancelled_or_timed_out_wait_takes_no_slot(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = await use_connection(pool)
    monkeypatch.setattr(database, "ACQUIRE_SECONDS", 0.1)
    async with database.connection(pool):
        called_off, *late = await start_waiting(pool, 3)
        called_off.cancel()
        ends = await asyncio.gather(*late, return_exceptions=True)
        assert [type(end) for end in ends] == [TimeoutError, TimeoutError]
    assert await use_connection(pool) == own


async def test_a_failed_connect_frees_its_slot(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await database.open_pool(system.settings.database_url, name="slots", size=1)
    own = await use_connection(pool)
    await pool.expire_connections()

    async def away(*_: object, **__: object) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg.connect_utils, "_connect", away)
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await use_connection(pool)
    assert await use_connection(pool) != own
    await database.close_pool(pool)


async def test_a_closed_pool_is_unavailable(pool: Pool) -> None:
    await database.close_pool(pool)
    with pytest.raises(database.UNAVAILABLE):
        await use_connection(pool)
