"""The script that keeps the state of all gateways, called as several gateways would."""

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from backend.push.cluster_script import CHANNELS, DUE, EXCHANGE, GATEWAYS, MEMBERS_PREFIX
from backend.push.push_log import STATE, STREAM
from tests.push.servers import RedisServer, entries

LEASE_MS, DEBOUNCE_MS = 400, 100
CHANNEL = "presence-a"
INFO = '{"name":"x"}'
SETTLES_IF_NOBODY_HOLDS = "if found and #cmsgpack.unpack(found)[2] == 0 then remove"
RETURN_CANCELS = "cancel('m' .. channel .. '\\0' .. user)"
CALLS_GROW = "own[3] >= call"


class Caller:
    """A gateway's calls."""

    def __init__(self, redis: RedisServer, name: str, script: str = EXCHANGE) -> None:
        self._url = redis.url
        self.name = name
        self._script = script
        self.number = 0
        self.acknowledged = 0

    async def call(self, *reports: list[Any], replaced: str = "", number: int = 0) -> list[Any]:
        self.number += 1
        async with Redis.from_url(self._url) as client:
            found: list[Any] = await client.eval(  # type: ignore[misc]
                self._script,
                2,
                STREAM,
                STATE,
                self.name,
                str(number or self.number),
                str(self.acknowledged),
                str(LEASE_MS),
                str(DEBOUNCE_MS),
                "100",
                "1",
                "1",
                "",
                replaced,
                "0",
                msgspec.msgpack.encode(reports),
            )
        if found[0]:
            self.acknowledged = self.number
        return found

    async def hold(self, *users: str) -> list[Any]:
        members = [[user, INFO, 0] for user in users]
        return await self.call([CHANNEL, len(users), 0, members, True])

    async def release(self, *users: str) -> list[Any]:
        return await self.call([CHANNEL, 0, 0, [[user, "", 0] for user in users], False])


def changes(redis: RedisServer) -> list[tuple[str, str]]:
    found = []
    for entry in entries(redis.url):
        for message in entry.messages:
            if not message.channels:
                data = json.loads(message.data)
                found.append((data["change"], data["user_id"]))
    return found


def sent_counts(redis: RedisServer) -> list[int]:
    return [
        json.loads(message.data)["subscription_count"]
        for entry in entries(redis.url)
        for message in entry.messages
        if message.channels
    ]


async def rejoined_as_the_debounce_ends(redis: RedisServer, script: str) -> list[tuple[str, str]]:
    """Bob leaves one gateway and joins another before the end of the debounce is handled."""
    one, two = Caller(redis, "one", script), Caller(redis, "two", script)
    await one.hold("ann", "bob")
    await one.call([CHANNEL, 1, 0, [["bob", "", 0]], False])
    await asyncio.sleep(DEBOUNCE_MS / 1_000 + 0.05)
    # Both the end of the debounce and the join are in this call.
    await two.hold("bob")
    await one.call()
    with redis.client() as client:
        is_member = client.hexists(MEMBERS_PREFIX + CHANNEL, "bob")
    found = [change for change, user in changes(redis) if user == "bob"]
    assert (found[-1] == "added") == is_member
    return [change for change in changes(redis) if change[1] == "bob"]


async def test_a_join_that_meets_the_end_of_the_debounce_keeps_the_member(
    redis_server: RedisServer,
) -> None:
    assert await rejoined_as_the_debounce_ends(redis_server, EXCHANGE) == [("added", "bob")]


async def test_without_the_check_for_a_holder_the_member_that_returned_is_removed(
    redis_server: RedisServer,
) -> None:
    """The negative control of the test above."""
    assert SETTLES_IF_NOBODY_HOLDS in EXCHANGE
    assert RETURN_CANCELS in EXCHANGE
    unguarded = EXCHANGE.replace(RETURN_CANCELS, "").replace(
        SETTLES_IF_NOBODY_HOLDS, "if found then remove"
    )
    found = await rejoined_as_the_debounce_ends(redis_server, unguarded)
    assert found == [("added", "bob"), ("removed", "bob")]


async def test_two_gateways_that_see_the_end_of_a_lease_at_once_remove_its_members_once(
    redis_server: RedisServer,
) -> None:
    dead, *survivors = [Caller(redis_server, name) for name in ("dead", "one", "two", "three")]
    await dead.hold("ann", "bob")
    ended = time.monotonic() + LEASE_MS / 1_000
    while time.monotonic() < ended + 0.02:
        await asyncio.gather(*(survivor.call() for survivor in survivors))
        await asyncio.sleep(0.02)
    await asyncio.gather(*(survivor.call() for survivor in survivors * 3))
    assert sorted(changes(redis_server)) == [
        ("added", "ann"),
        ("added", "bob"),
        ("removed", "ann"),
        ("removed", "bob"),
    ]
    with redis_server.client() as client:
        assert client.hlen(GATEWAYS) == len(survivors)
        assert client.exists(CHANNELS, DUE, MEMBERS_PREFIX + CHANNEL) == 0


async def test_a_gateway_that_was_away_itself_ends_no_lease(redis_server: RedisServer) -> None:
    """Redis stood still: the first gateway that returns must not remove all others' members."""
    one, two = Caller(redis_server, "one"), Caller(redis_server, "two")
    await one.call()
    await two.hold("ann")
    await asyncio.sleep(LEASE_MS / 1_000 + 0.05)
    await one.call()
    assert (await two.call())[0] == 1
    assert changes(redis_server) == [("added", "ann")]


async def test_a_gateway_that_starts_after_all_were_killed_removes_their_members(
    redis_server: RedisServer,
) -> None:
    await Caller(redis_server, "dead").hold("ann")
    await asyncio.sleep(LEASE_MS / 1_000 + 0.05)
    started = Caller(redis_server, "started")
    await started.call()
    # The killed ones might only have been away.
    assert changes(redis_server) == [("added", "ann")]
    for _ in range(3):
        await asyncio.sleep(LEASE_MS / 2_000)
        await started.call()
    assert changes(redis_server) == [("added", "ann"), ("removed", "ann")]


async def late_call(redis: RedisServer, script: str) -> list[tuple[str, str]]:
    """Redis executes a call after the next one, as when it stood still while both waited."""
    one = Caller(redis, "one", script)
    await one.hold("ann", "bob")
    await one.call([CHANNEL, 1, 0, [["bob", "", 0]], False], number=3)
    one.acknowledged = 1
    await one.call([CHANNEL, 2, 0, [["bob", INFO, 0]], False], number=2)
    await asyncio.sleep(DEBOUNCE_MS / 1_000 + 0.05)
    one.number = 3
    one.acknowledged = 0
    await one.call()
    return changes(redis)


async def test_a_call_that_is_executed_late_changes_nothing(redis_server: RedisServer) -> None:
    assert (await late_call(redis_server, EXCHANGE))[-1] == ("removed", "bob")


async def test_without_numbers_a_late_call_brings_a_member_back(redis_server: RedisServer) -> None:
    """The negative control of the test above."""
    assert CALLS_GROW in EXCHANGE
    assert ("removed", "bob") not in await late_call(
        redis_server, EXCHANGE.replace(CALLS_GROW, "false")
    )


@pytest.mark.parametrize("lost", ["registration", "last call"])
async def test_a_gateway_that_redis_forgot_is_told_to_register_again(
    redis_server: RedisServer, lost: str
) -> None:
    one = Caller(redis_server, "one")
    await one.hold("ann")
    with redis_server.client() as client:
        before = client.hget(GATEWAYS, "one")
    await one.call()
    with redis_server.client() as client:
        if lost == "registration":
            client.flushall()
        else:
            client.hset(GATEWAYS, "one", before)
    assert await one.call() == [0]
    again = Caller(redis_server, "again")
    assert (await again.hold("ann"))[0] == 1
    await again.call(replaced="one")
    assert changes(redis_server) == [("added", "ann")]


async def test_the_end_of_a_replaced_registration_removes_those_who_left_meanwhile(
    redis_server: RedisServer,
) -> None:
    one, again = Caller(redis_server, "one"), Caller(redis_server, "again")
    await one.hold("ann", "bob")
    await again.hold("ann")
    await again.call(replaced="one")
    assert changes(redis_server)[-1] == ("removed", "bob")
    assert (await one.call())[0] == 0


async def test_a_user_id_of_any_characters_is_reported_unchanged(
    redis_server: RedisServer,
) -> None:
    one = Caller(redis_server, "one")
    users = ["auth0|1", "me+x@example.com", "é", 'a"b\\c\n', "a\0b", "日本"]
    reply = await one.hold(*users)
    [fields] = reply[2]
    assert sorted(field.decode() for field in fields[2::2]) == sorted(users)
    await one.release(*users)
    await asyncio.sleep(DEBOUNCE_MS / 1_000 + 0.05)
    await one.call()
    assert sorted(changes(redis_server)) == sorted(
        (change, user) for user in users for change in ("added", "removed")
    )


async def test_a_count_above_a_hundred_waits_for_the_interval_and_is_sent_then(
    redis_server: RedisServer,
) -> None:
    one = Caller(redis_server, "one")
    for count in (1, 100, 101, 102, 103):
        await one.call(["show-1", count, 0, [], False])
    assert sent_counts(redis_server) == [1, 100, 101]
    with redis_server.client() as client:
        [(item, _)] = client.zrange(DUE, 0, -1, withscores=True)
        client.zadd(DUE, {item: 0})
    await one.call()
    assert sent_counts(redis_server) == [1, 100, 101, 103]
    await one.call(["show-1", 50, 0, [], False])
    assert sent_counts(redis_server)[-1] == 50
