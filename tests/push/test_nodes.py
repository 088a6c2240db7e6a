"""Members, counts and channels over two and three gateway processes, by real sockets and Redis.

A `Page` keeps the roster as pusher-js does, and fails when a message does not fit it: a member that
was added twice, or removed without being there.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from typing import Any

import pusher
import pytest
from pusher.http import Request
from websockets.exceptions import ConnectionClosed, InvalidMessage

from backend.push.cluster_script import CHANNELS, DUE, GATEWAY_PREFIX, GATEWAYS, MEMBERS_PREFIX
from backend.push.facts import FACTS, read_fact
from backend.push.signature import channel_text, sign
from tests.push.gateway_process import GatewayProcess, gateway_processes, start_process
from tests.push.servers import APP_ID, KEY, SECRET, RawClient, RedisServer, until

LEASE_SECONDS, DEBOUNCE_SECONDS = 1.2, 0.4
SETTINGS = {
    "lease_seconds": LEASE_SECONDS,
    "debounce_seconds": DEBOUNCE_SECONDS,
    "subscription_counts": True,
    "record_facts": True,
    "redis_timeout_seconds": 1.0,
}
# Longer than a lease and all that follows its end.
LEASE_IS_OVER = LEASE_SECONDS + 2
# Longer than the debounce, and a turn of each gateway.
DEBOUNCE_IS_OVER = DEBOUNCE_SECONDS + 0.6
_names = count()


class Nodes:
    def __init__(self, redis: RedisServer, running: list[GatewayProcess]) -> None:
        self.redis = redis
        self.running = running

    def __getitem__(self, at: int) -> GatewayProcess:
        return self.running[at]

    @property
    def last(self) -> GatewayProcess:
        return self.running[-1]

    def replace_last(self) -> None:
        self.running[-1].kill()
        self.running[-1] = start_process(self.redis.url, **SETTINGS)
        self.running[-1].until_listening()

    def facts(self, channel: str) -> list[tuple[str, str | int | None]]:
        """The facts of a channel, without those of counts."""
        with self.redis.client() as client:
            found = [read_fact(entry_id, fields) for entry_id, fields in client.xrange(FACTS)]
        return [
            (fact.name, fact.user_id)
            for fact in found
            if fact.channel == channel and fact.name != "subscription_count"
        ]


@pytest.fixture(scope="module")
def redis_of_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("nodes"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=[2, 3], ids=["two", "three"])
def nodes(redis_of_nodes: RedisServer, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    redis_of_nodes.flush()
    with gateway_processes(redis_of_nodes.url, request.param, **SETTINGS) as running:
        yield Nodes(redis_of_nodes, running)


@pytest.fixture
def channel() -> str:
    return f"presence-{next(_names)}"


class Page:
    """A socket in a presence channel."""

    def __init__(self, client: RawClient, channel: str, user: str) -> None:
        self.client = client
        self.channel = channel
        self.user = user
        self.members: dict[str, Any] = {}
        self.changes: list[tuple[str, str]] = []
        self.faults: list[str] = []
        self._reading: asyncio.Task[None] | None = None

    async def subscribe(self, info: Any = None) -> None:
        signing = pusher.Pusher(APP_ID, KEY, SECRET)
        member = {"user_id": self.user, "user_info": info or {"name": self.user}}
        signed = signing.authenticate(self.channel, self.client.socket_id, member)
        await self.client.send("pusher:subscribe", {"channel": self.channel, **signed})
        reply = await self.client.data("pusher_internal:subscription_succeeded")
        self.members = dict(reply["presence"]["hash"])
        assert reply["presence"]["count"] == len(self.members)
        assert self.user in self.members
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self.client.socket:
                self._receive(json.loads(text))

    def _receive(self, message: dict[str, Any]) -> None:
        event = message["event"].removeprefix("pusher_internal:member_")
        if event not in ("added", "removed"):
            return
        data = json.loads(message["data"])
        user = data["user_id"]
        self.changes.append((event, user))
        if user == self.user or (user in self.members) != (event == "removed"):
            self.faults.append(f"{event} {user} at {self.user}: {sorted(self.members)}")
        if event == "added":
            self.members[user] = data["user_info"]
        else:
            self.members.pop(user, None)

    async def until_members(self, *users: str, seconds: float = 10) -> None:
        try:
            await until(lambda: set(self.members) == set(users), seconds)
        except TimeoutError:
            raise AssertionError(f"{sorted(self.members)} instead of {sorted(users)}") from None
        assert self.faults == []

    def close(self) -> None:
        self.client.socket.transport.abort()


@asynccontextmanager
async def page(
    node: GatewayProcess, channel: str, user: str, info: Any = None
) -> AsyncIterator[Page]:
    async with node.raw() as client:
        opened = Page(client, channel, user)
        await opened.subscribe(info)
        yield opened
        assert opened.faults == []


async def users_at(node: GatewayProcess, channel: str) -> list[str]:
    found = await node.call("users_info", channel)
    return sorted(user["id"] for user in found["users"])


async def until_users(nodes: Nodes, channel: str, *users: str, seconds: float = 10) -> None:
    """Wait until every gateway returns these users."""
    async with asyncio.timeout(seconds):
        for node in nodes.running:
            while await users_at(node, channel) != sorted(users):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


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
                async with page(node, channel, "cyd") as cyd:
                    assert cyd.members["ann"] == {"name": "new"}
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
            assert await counts(client) == at + 2
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
