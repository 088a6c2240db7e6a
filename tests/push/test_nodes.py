"""Members, counts and channels over two and three gateway processes, by real sockets and Redis."""

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from typing import Any

import pusher
import pytest
from pusher.http import Request

from backend.push.cluster_script import CHANNELS, DUE, GATEWAY_PREFIX, MEMBERS_PREFIX
from backend.push.signature import channel_text, sign
from tests.push.gateway_process import GatewayProcess
from tests.push.nodes import (
    DEBOUNCE_IS_OVER,
    DEBOUNCE_SECONDS,
    Nodes,
    Page,
    page,
    until_info,
    until_users,
    users_at,
)
from tests.push.servers import APP_ID, KEY, SECRET, RawClient


async def test_a_member_at_another_gateway_is_in_the_roster_and_comes_and_goes_once(
    nodes: Nodes, channel: str
) -> None:
    async with page(nodes[0], channel, "ann") as ann:
        async with page(nodes.last, channel, "bob") as bob:
            assert bob.members == {"ann": {"name": "ann"}, "bob": {"name": "bob"}}
            await ann.until_members("ann", "bob")
            assert ann.members["bob"] == {"name": "bob"}
        left_at = time.monotonic()
        await ann.until_members("ann")
        assert time.monotonic() - left_at >= DEBOUNCE_SECONDS - 0.1
        assert ann.changes == [("added", "bob"), ("removed", "bob")]
        assert bob.changes == []


async def test_a_user_at_several_gateways_is_one_member_until_its_last_connection_ends(
    nodes: Nodes, channel: str
) -> None:
    async with page(nodes[0], channel, "ann") as ann, page(nodes[0], channel, "bob"):
        await ann.until_members("ann", "bob")
        async with page(nodes.last, channel, "bob") as other:
            assert set(other.members) == {"ann", "bob"}
            found = await nodes[0].call("channel_info", channel, ["user_count"])
            assert found == {"occupied": True, "user_count": 2}
        await asyncio.sleep(DEBOUNCE_IS_OVER)
        assert ann.changes == [("added", "bob")]
    assert await users_at(nodes.last, channel) == ["ann", "bob"]
    await until_users(nodes, channel)


@pytest.mark.parametrize("returns_to", [0, -1], ids=["same", "another"])
async def test_a_reload_within_the_debounce_is_not_a_leave(
    nodes: Nodes, channel: str, returns_to: int
) -> None:
    async with page(nodes[0], channel, "ann") as ann:
        async with page(nodes[0], channel, "bob"):
            await ann.until_members("ann", "bob")
        await asyncio.sleep(DEBOUNCE_SECONDS / 3)
        async with page(nodes[returns_to], channel, "bob") as returned:
            assert set(returned.members) == {"ann", "bob"}
            await asyncio.sleep(DEBOUNCE_IS_OVER)
            assert ann.changes == [("added", "bob")]
            assert nodes.facts(channel) == [
                ("channel_occupied", None),
                ("member_added", "ann"),
                ("member_added", "bob"),
            ]


async def test_a_channel_that_is_left_and_joined_again_stays_occupied(
    nodes: Nodes, channel: str
) -> None:
    name = channel.removeprefix("presence-")
    for node in (nodes[0], nodes.last):
        async with node.raw() as client:
            await client.subscribe(name)
            assert (await nodes[0].call("channel_info", name))["occupied"]
        await asyncio.sleep(DEBOUNCE_SECONDS / 3)
    await asyncio.sleep(DEBOUNCE_IS_OVER)
    assert nodes.facts(name) == [("channel_occupied", None), ("channel_vacated", None)]
    assert not (await nodes.last.call("channel_info", name))["occupied"]


async def test_the_newest_user_info_is_in_later_rosters(nodes: Nodes, channel: str) -> None:
    async with (
        page(nodes[0], channel, "ann", {"name": "old"}),
        page(nodes.last, channel, "bob") as bob,
    ):
        assert bob.members["ann"] == {"name": "old"}
        async with page(nodes.last, channel, "ann", {"name": "new"}):
            for node in nodes.running:
                await until_info(node, channel, "ann", {"name": "new"})
        assert ("added", "ann") not in bob.changes


async def test_queries_have_the_state_of_all_gateways(nodes: Nodes, channel: str) -> None:
    public = channel.removeprefix("presence-") + "-public"
    async with AsyncExitStack() as stack:
        for at, node in enumerate(nodes.running):
            client = await stack.enter_async_context(node.raw())
            await client.subscribe(public)
            await stack.enter_async_context(page(node, channel, f"u{at}"))
        total = len(nodes.running)
        users = [f"u{at}" for at in range(total)]
        await until_users(nodes, channel, *users)
        for node in nodes.running:
            found = await node.call("channels_info", channel, ["user_count"])
            assert found == {"channels": {channel: {"user_count": total}}}
            assert public in (await node.call("channels_info"))["channels"]
            info = await node.call("channel_info", public, ["subscription_count"])
            assert info == {"occupied": True, "subscription_count": total}
            reply = await trigger(node, [public, channel], "user_count,subscription_count")
            assert reply == {
                "channels": {
                    public: {"subscription_count": total},
                    channel: {"subscription_count": total, "user_count": total},
                }
            }


async def trigger(node: GatewayProcess, channels: list[str], info: str) -> Any:
    """Trigger an event and request attributes, which the official library does not."""
    api = pusher.Pusher(APP_ID, KEY, SECRET, host="127.0.0.1", port=node.port, ssl=False)
    params = {"name": "n", "data": "{}", "channels": channels, "info": info}
    request = Request(api._pusher_client, "POST", f"/apps/{APP_ID}/events", params)
    return await asyncio.to_thread(api._pusher_client.http.send_request, request)


async def counts(client: RawClient) -> int:
    found: int = (await client.data("pusher_internal:subscription_count"))["subscription_count"]
    return found


async def test_subscribers_get_the_count_of_all_gateways(nodes: Nodes, channel: str) -> None:
    name = channel.removeprefix("presence-")
    async with nodes[0].raw() as first, AsyncExitStack() as stack:
        await first.subscribe(name)
        assert await counts(first) == 1
        for at, node in enumerate(nodes.running):
            client = await stack.enter_async_context(node.raw())
            await client.subscribe(name)
            assert await counts(first) == at + 2
            # Its gateway may still have the count before this subscription to send.
            while await counts(client) != at + 2:
                pass
        await stack.aclose()
        while await counts(first) != 1:
            pass


@pytest.mark.parametrize("prefix", ["presence-", "private-encrypted-"])
async def test_no_count_is_sent_on_presence_and_encrypted_channels(
    nodes: Nodes, channel: str, prefix: str
) -> None:
    name = prefix + channel.removeprefix("presence-")
    async with nodes[0].raw() as first, nodes.last.raw() as second:
        for client in (first, second):
            data = '{"user_id":"ann"}' if prefix == "presence-" else None
            signed = sign(SECRET, channel_text(client.socket_id, name, data))
            request = {"channel": name, "auth": f"{KEY}:{signed}", "channel_data": data}
            await client.send("pusher:subscribe", request)
            await client.message("pusher_internal:subscription_succeeded")
        assert name in (await nodes[0].call("channels_info"))["channels"]
        await trigger(nodes[0], [name], "")
        assert json.loads(await first.socket.recv())["event"] == "n"


async def test_more_than_a_hundred_subscribers_get_the_count_every_five_seconds(
    nodes: Nodes, channel: str
) -> None:
    name = channel.removeprefix("presence-")
    async with nodes[0].raw() as first, AsyncExitStack() as stack:
        for at in range(102):
            client = await stack.enter_async_context(nodes.running[at % 2].raw())
            await client.subscribe(name)
        await first.subscribe(name)
        seen: list[tuple[float, int]] = []
        for _ in range(2):
            while (found := await asyncio.wait_for(counts_above(first, 100), 8)) is None:
                pass
            seen.append((time.monotonic(), found))
            extra = await stack.enter_async_context(nodes.last.raw())
            await extra.subscribe(name)
        assert seen[-1][1] > seen[0][1] > 100
        # The first may have arrived some time after it was sent.
        assert seen[1][0] - seen[0][0] > 3


async def counts_above(client: RawClient, limit: int) -> int | None:
    found = json.loads(await client.socket.recv())
    if found["event"] != "pusher_internal:subscription_count":
        return None
    total: int = json.loads(found["data"])["subscription_count"]
    return total if total > limit else None


async def test_at_most_a_hundred_members_over_all_gateways(nodes: Nodes, channel: str) -> None:
    async with AsyncExitStack() as stack:
        for at in range(100):
            client = await stack.enter_async_context(nodes.running[at % 2].raw())
            await client.subscribe(channel, f"u{at}")
        late = await stack.enter_async_context(nodes.last.raw())
        signing = pusher.Pusher(APP_ID, KEY, SECRET)
        signed = signing.authenticate(channel, late.socket_id, {"user_id": "late"})
        await late.send("pusher:subscribe", {"channel": channel, **signed})
        refusal = await late.data("pusher:subscription_error")
        assert refusal["type"] == "LimitReached"
        # A member of the channel may have another connection.
        known = await stack.enter_async_context(nodes.last.raw())
        reply = await known.subscribe(channel, "u7")
        assert reply["presence"]["count"] == 100
        assert await users_at(nodes[0], channel) == sorted(f"u{at}" for at in range(100))


async def test_a_last_leave_and_a_join_at_another_gateway_leave_no_ghost_and_lose_nobody(
    nodes: Nodes, channel: str
) -> None:
    """The join comes as the debounce ends, now just before and now just after."""
    chance = random.Random(7)
    async with page(nodes[0], channel, "ann") as ann:
        at = 0
        for _ in range(12):
            node, at = nodes.running[at], (at + 1) % len(nodes.running)
            async with page(node, channel, "bob"):
                await ann.until_members("ann", "bob")
            await asyncio.sleep(DEBOUNCE_SECONDS + chance.uniform(-0.1, 0.2))
        async with page(nodes.running[at], channel, "bob") as bob:
            await ann.until_members("ann", "bob")
            await bob.until_members("ann", "bob")
            await asyncio.sleep(DEBOUNCE_IS_OVER)
            await until_users(nodes, channel, "ann", "bob")
            assert set(ann.members) == {"ann", "bob"}
        await ann.until_members("ann")
        added = nodes.facts(channel).count(("member_added", "bob"))
        assert added == nodes.facts(channel).count(("member_removed", "bob"))
        assert added == ann.changes.count(("added", "bob"))


async def test_every_page_knows_the_same_roster_after_a_rush_of_joins_and_leaves(
    nodes: Nodes, channel: str
) -> None:
    chance = random.Random(13)

    async def visitor(number: int, stack: AsyncExitStack) -> Page:
        user = f"u{number % 12}"
        for _ in range(6):
            async with page(chance.choice(nodes.running), channel, user):
                await asyncio.sleep(chance.uniform(0, 0.8))
            await asyncio.sleep(chance.uniform(0, 0.8))
        return await stack.enter_async_context(page(chance.choice(nodes.running), channel, user))

    async with AsyncExitStack() as stack:
        pages = await asyncio.gather(*(visitor(number, stack) for number in range(16)))
        users = {one.user for one in pages}
        for one in pages:
            await one.until_members(*users)
        await until_users(nodes, channel, *users)


async def test_redis_keeps_nothing_of_channels_that_everybody_left(
    nodes: Nodes, channel: str
) -> None:
    async with page(nodes[0], channel, "ann"), nodes.last.raw() as client:
        await client.subscribe(f"{channel}-public".removeprefix("presence-"))
    with nodes.redis.client() as client:
        async with asyncio.timeout(10):
            while client.hlen(CHANNELS) or client.zcard(DUE):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert client.keys(MEMBERS_PREFIX + "*") == []
        assert client.keys(GATEWAY_PREFIX + "*") == []
