"""The correlation id is bound at an edge, inherited by tasks, and never invented by a read."""

import asyncio
from uuid import UUID, uuid4

import pytest

from backend.kernel import correlation


def test_an_unbound_read_raises() -> None:
    assert correlation.find() is None
    with pytest.raises(correlation.Unbound):
        correlation.current()


def test_a_block_binds_the_given_id_or_a_new_one_and_restores_the_one_before() -> None:
    outer = uuid4()
    with correlation.bound(outer):
        with correlation.bound():
            assert correlation.current() != outer
        assert correlation.current() == outer
    assert correlation.find() is None


def test_a_rebinding_ends_with_its_block() -> None:
    outer, later = uuid4(), uuid4()
    with correlation.bound(outer):
        correlation.rebind(None)
        assert correlation.current() == outer
        correlation.rebind(later)
        assert correlation.current() == later
    assert correlation.find() is None


async def test_a_task_inherits_the_id_and_a_rebinding_in_it_stays_there() -> None:
    async def work(own: UUID | None) -> UUID:
        correlation.rebind(own)
        await asyncio.sleep(0)
        return correlation.current()

    outer, own = uuid4(), uuid4()
    with correlation.bound(outer):
        task = asyncio.create_task(work(None))
        gathered = await asyncio.gather(work(own), work(None), asyncio.wait_for(work(None), 1))
        assert correlation.current() == outer
    assert await task == outer
    assert list(gathered) == [own, outer, outer]
    assert await asyncio.to_thread(correlation.find) is None
