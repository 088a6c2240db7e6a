"""Members over gateway processes that are killed or paused, and with a Redis that loses data."""

import asyncio
import random
import time
from contextlib import AsyncExitStack, suppress

from websockets.exceptions import ConnectionClosed, InvalidMessage

from backend.push.cluster_script import GATEWAYS
from tests.push.nodes import (
    DEBOUNCE_IS_OVER,
    LEASE_IS_OVER,
    LEASE_SECONDS,
    Nodes,
    Page,
    page,
    until_info,
    until_users,
    users_at,
)


async def test_a_killed_gateways_members_are_removed_once_after_the_lease(
    nodes: Nodes, channel: str
) -> None:
    survivors = nodes.running[:-1]
    async with AsyncExitStack() as stack:
        watching = [
            await stack.enter_async_context(page(node, channel, f"u{at}"))
            for at, node in enumerate(survivors)
        ]
        others = [one.user for one in watching]
        async with nodes.last.raw() as client:
            await Page(client, channel, "bob").subscribe()
            for one in watching:
                await one.until_members(*others, "bob")
            killed_at = time.monotonic()
            await asyncio.to_thread(nodes.last.kill)
        for one in watching:
            await one.until_members(*others, seconds=LEASE_IS_OVER)
        assert time.monotonic() - killed_at < LEASE_IS_OVER
        await asyncio.sleep(DEBOUNCE_IS_OVER)
        assert all(one.changes.count(("removed", "bob")) == 1 for one in watching)
        assert nodes.facts(channel).count(("member_removed", "bob")) == 1
        assert await users_at(nodes[0], channel) == sorted(others)
    nodes.replace_last()


async def test_a_member_that_moves_from_a_killed_gateway_is_not_removed(
    nodes: Nodes, channel: str
) -> None:
    async with page(nodes[0], channel, "ann") as ann:
        async with nodes.last.raw() as client:
            await Page(client, channel, "bob").subscribe()
            await ann.until_members("ann", "bob")
            await asyncio.to_thread(nodes.last.kill)
        async with page(nodes[0], channel, "bob"):
            await asyncio.sleep(LEASE_IS_OVER)
            assert ann.changes == [("added", "bob")]
            found = await nodes[0].call("channel_info", channel, ["user_count"])
            assert found["user_count"] == 2
            assert ("member_removed", "bob") not in nodes.facts(channel)
    nodes.replace_last()


async def test_the_members_of_a_stopped_gateway_that_move_are_not_removed(
    nodes: Nodes, channel: str
) -> None:
    async with page(nodes[0], channel, "ann") as ann:
        async with nodes.last.raw() as client:
            await Page(client, channel, "bob").subscribe()
            await ann.until_members("ann", "bob")
            stopping = asyncio.create_task(nodes.last.stop())
            await client.close_code()
        async with page(nodes[0], channel, "bob"):
            await stopping
            await asyncio.sleep(DEBOUNCE_IS_OVER)
            assert ann.changes == [("added", "bob")]
            with nodes.redis.client() as client:
                assert client.hlen(GATEWAYS) == len(nodes.running) - 1
    nodes.replace_last()


async def test_a_gateway_paused_beyond_its_lease_returns_without_ghosts(
    nodes: Nodes, channel: str
) -> None:
    async with page(nodes[0], channel, "ann") as ann, page(nodes.last, channel, "bob") as bob:
        async with page(nodes.last, channel, "cyd") as cyd:
            await ann.until_members("ann", "bob", "cyd")
            nodes.last.pause()
            await ann.until_members("ann", seconds=LEASE_IS_OVER)
            # It leaves while its gateway stands still.
            cyd.close()
        nodes.last.resume()
        await ann.until_members("ann", "bob")
        await bob.until_members("ann", "bob")
        await until_users(nodes, channel, "ann", "bob")
        assert ann.changes.count(("removed", "bob")) == 1
        assert ann.changes.count(("added", "bob")) == 2


async def test_an_emptied_redis_changes_nothing_for_clients(nodes: Nodes, channel: str) -> None:
    async with AsyncExitStack() as stack:
        pages = [
            await stack.enter_async_context(page(node, channel, f"u{at}-{number}"))
            for at, node in enumerate(nodes.running)
            for number in range(2)
        ]
        users = [one.user for one in pages]
        for one in pages:
            await one.until_members(*users)
        before = [list(one.changes) for one in pages]
        nodes.redis.flush()
        await until_users(nodes, channel, *users)
        await asyncio.sleep(2 * DEBOUNCE_IS_OVER)
        assert [one.changes for one in pages] == before
        assert nodes.facts(channel) == []
        await stack.enter_async_context(page(nodes.last, channel, "new"))
        for one in pages:
            await one.until_members(*users, "new")
        assert nodes.facts(channel) == [("member_added", "new")]


async def test_an_emptied_redis_gets_the_newest_user_info_from_every_gateway(
    nodes: Nodes, channel: str
) -> None:
    async with (
        page(nodes[0], channel, "ann", {"name": "old"}),
        page(nodes.last, channel, "ann", {"name": "new"}),
    ):
        await until_info(nodes[0], channel, "ann", {"name": "new"})
        nodes.redis.flush()
        await until_users(nodes, channel, "ann")
        await asyncio.sleep(DEBOUNCE_IS_OVER)
        for node in nodes.running:
            async with page(node, channel, "bob") as bob:
                assert bob.members["ann"] == {"name": "new"}


async def test_members_that_left_while_redis_was_emptied_are_no_ghosts(
    nodes: Nodes, channel: str
) -> None:
    async with page(nodes[0], channel, "ann") as ann:
        async with nodes.last.raw() as client:
            await Page(client, channel, "bob").subscribe()
            await ann.until_members("ann", "bob")
            await asyncio.to_thread(nodes.last.kill)
        nodes.redis.flush()
        await ann.until_members("ann")
        assert ann.changes == [("added", "bob"), ("removed", "bob")]
    nodes.replace_last()


async def test_without_redis_a_gateway_serves_its_clients_with_its_own_knowledge(
    nodes: Nodes, channel: str
) -> None:
    async with page(nodes[0], channel, "ann") as ann, page(nodes.last, channel, "bob") as bob:
        await ann.until_members("ann", "bob")
        nodes.redis.kill()
        async with page(nodes[0], channel, "cyd") as cyd:
            assert set(cyd.members) == {"ann", "bob", "cyd"}
            await ann.until_members("ann", "bob", "cyd")
            assert await users_at(nodes[0], channel) == ["ann", "bob", "cyd"]
            assert await users_at(nodes.last, channel) == ["ann", "bob"]
            async with page(nodes.last, channel, "dan"):
                await bob.until_members("ann", "bob", "dan")
            await asyncio.to_thread(nodes.redis.start)
            await bob.until_members("ann", "bob", "cyd")
            await until_users(nodes, channel, "ann", "bob", "cyd")
        await ann.until_members("ann", "bob")
        await bob.until_members("ann", "bob")


async def test_a_redis_that_stood_still_for_longer_than_the_lease_removes_nobody(
    nodes: Nodes, channel: str
) -> None:
    async with page(nodes[0], channel, "ann") as ann, page(nodes.last, channel, "bob") as bob:
        await ann.until_members("ann", "bob")
        nodes.redis.pause()
        await asyncio.sleep(LEASE_SECONDS + 1)
        async with page(nodes.last, channel, "cyd") as cyd:
            assert set(cyd.members) == {"ann", "bob", "cyd"}
            nodes.redis.resume()
            await ann.until_members("ann", "bob", "cyd")
            await asyncio.sleep(LEASE_IS_OVER)
            assert ann.changes == [("added", "bob"), ("added", "cyd")]
            assert bob.changes == [("added", "cyd")]
        await ann.until_members("ann", "bob")


async def test_a_redis_that_lost_its_last_changes_gets_them_again(
    nodes: Nodes, channel: str
) -> None:
    async with page(nodes[0], channel, "ann") as ann:
        async with page(nodes.last, channel, "bob"):
            await ann.until_members("ann", "bob")
            before = nodes.redis.save()
        async with page(nodes.last, channel, "cyd") as cyd:
            await ann.until_members("ann", "cyd")
            nodes.redis.kill()
            await asyncio.to_thread(nodes.redis.start_with, before)
            await until_users(nodes, channel, "ann", "cyd")
            await asyncio.sleep(DEBOUNCE_IS_OVER)
            await ann.until_members("ann", "cyd")
            await cyd.until_members("ann", "cyd")
            async with page(nodes[0], channel, "dan") as dan:
                await dan.until_members("ann", "cyd", "dan")
                await cyd.until_members("ann", "cyd", "dan")


async def test_after_kills_pauses_and_losses_all_pages_know_the_same_roster(
    nodes: Nodes, channel: str
) -> None:
    chance = random.Random(17)
    over = asyncio.Event()

    async def visit(user: str) -> None:
        while not over.is_set():
            # The gateway may be killed or paused meanwhile.
            with suppress(OSError, TimeoutError, ConnectionClosed, InvalidMessage):
                async with (
                    asyncio.timeout(8),
                    page(chance.choice(nodes.running), channel, user),
                ):
                    await asyncio.sleep(chance.uniform(0, 1))
            await asyncio.sleep(chance.uniform(0, 0.5))

    visitors = [asyncio.create_task(visit(f"u{number % 5}")) for number in range(8)]
    for disturb in (
        nodes.redis.flush,
        nodes.replace_last,
        nodes.redis.pause,
        nodes.redis.resume,
        nodes[0].pause,
        nodes.redis.kill,
        nodes.redis.start,
        nodes.redis.flush,
    ):
        await asyncio.to_thread(disturb)
        await asyncio.sleep(chance.uniform(0.2, 1.2))
    nodes[0].resume()
    over.set()
    await asyncio.gather(*visitors)
    async with AsyncExitStack() as stack:
        pages = [
            await stack.enter_async_context(page(node, channel, f"last-{at}"))
            for at, node in enumerate(nodes.running)
        ]
        users = [one.user for one in pages]
        for one in pages:
            await one.until_members(*users)
        await until_users(nodes, channel, *users)
