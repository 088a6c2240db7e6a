"""The viewers of a show: users, browsers and sockets, over all gateways."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pusher
import pytest

from backend.push import viewers
from tests.push.servers import (
    APP_ID,
    KEY,
    SECRET,
    RawClient,
    RedisServer,
    RunningGateway,
    running_gateway,
)

SHOW = "show-1"
ONE, OTHER = "1" * 32, "2" * 32
TURN_SECONDS = 0.05
LEASE_SECONDS = 1.0


@asynccontextmanager
async def counting(redis: RedisServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(
        redis.url, viewer_turn_seconds=TURN_SECONDS, viewer_lease_seconds=LEASE_SECONDS
    ) as running:
        yield running


@pytest.fixture
async def gateway(redis_server: RedisServer) -> AsyncIterator[RunningGateway]:
    async with counting(redis_server) as running:
        yield running


@asynccontextmanager
async def viewing(
    gateway: RunningGateway, browser: str | None = None, user: str | None = None
) -> AsyncIterator[RawClient]:
    """A socket of this browser, signed in as this user, with the show open."""
    async with gateway.raw() as client:
        await client.established()
        if browser:
            await client.send("gittix:viewer", {"browser": browser})
        if user:
            signing = pusher.Pusher(app_id=APP_ID, key=KEY, secret=SECRET)
            signed = signing.authenticate_user(client.socket_id, {"id": user})
            await client.send("pusher:signin", signed)
            await client.message("pusher:signin_success")
        await client.subscribe(SHOW)
        yield client


async def until_count(client: RawClient, count: int) -> None:
    """Wait until the socket's last count is this one, and stays it for some turns."""
    async with asyncio.timeout(5):
        while (await client.data("gittix:viewers"))["count"] != count:
            pass
    try:
        async with asyncio.timeout(10 * TURN_SECONDS):
            later = await client.data("gittix:viewers")
    except TimeoutError:
        return
    raise AssertionError(f"the count became {later}")


async def test_the_tabs_of_a_browser_are_one_person(gateway: RunningGateway) -> None:
    async with viewing(gateway, ONE) as first:
        await until_count(first, 1)
        async with viewing(gateway, ONE) as second:
            # The new tab gets the count, which does not change for the old one.
            await until_count(second, 1)
            async with viewing(gateway, OTHER) as other:
                for client in (first, second, other):
                    await until_count(client, 2)
            await until_count(first, 1)


async def test_sockets_without_an_id_are_a_person_each(gateway: RunningGateway) -> None:
    """The negative control: before browsers named themselves, two tabs were two people."""
    async with viewing(gateway) as first, viewing(gateway):
        await until_count(first, 2)


async def test_a_user_with_several_browsers_is_one_person(gateway: RunningGateway) -> None:
    async with viewing(gateway, ONE, "ann") as phone, viewing(gateway, OTHER, "ann"):
        await until_count(phone, 1)
        async with viewing(gateway, ONE, "bob"):
            await until_count(phone, 2)


async def test_a_tab_that_signs_in_later_is_the_user_from_then_on(gateway: RunningGateway) -> None:
    signing = pusher.Pusher(app_id=APP_ID, key=KEY, secret=SECRET)
    async with viewing(gateway, ONE, "ann") as first, viewing(gateway, OTHER) as second:
        await until_count(first, 2)
        await second.send(
            "pusher:signin", signing.authenticate_user(second.socket_id, {"id": "ann"})
        )
        await until_count(first, 1)


async def test_the_subscription_count_of_the_protocol_still_counts_subscriptions(
    gateway: RunningGateway,
) -> None:
    async with viewing(gateway, ONE), viewing(gateway, ONE):
        info = await gateway.call("channel_info", SHOW, ["subscription_count"])
        assert info["subscription_count"] == 2


async def test_a_socket_is_one_person_however_many_ids_it_sends(gateway: RunningGateway) -> None:
    async with viewing(gateway, ONE) as client:
        for number in range(20):
            await client.send("gittix:viewer", {"browser": f"{number:032x}"})
        await until_count(client, 1)


async def test_a_socket_counts_in_three_shows_at_most(gateway: RunningGateway) -> None:
    async with gateway.raw() as client:
        await client.established()
        for number in range(20):
            await client.subscribe(f"show-{number}")
        assert len(gateway.gateway.registry.viewers.due(float("inf"))) == 3
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("show-7")
        assert (await client.data("gittix:viewers"))["count"] == 1


@pytest.mark.parametrize("data", [{}, {"browser": 1}, {"browser": "x"}, {"browser": "1" * 33}])
async def test_a_malformed_id_is_an_error(gateway: RunningGateway, data: object) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.send("gittix:viewer", data)
        assert (await client.data("pusher:error"))["code"] is None


async def test_people_are_counted_over_all_gateways(
    gateway: RunningGateway, redis_server: RedisServer
) -> None:
    async with counting(redis_server) as second, viewing(gateway, ONE) as here:
        async with viewing(second, ONE) as same, viewing(second, OTHER) as there:
            for client in (here, same, there):
                await until_count(client, 2)
        # Redis forgot the browser when its tab at the other gateway was closed, and the renewal
        # adds it again.
        await until_count(here, 1)


async def test_the_people_of_a_killed_gateway_are_gone_after_the_lease(
    gateway: RunningGateway, redis_server: RedisServer
) -> None:
    async with viewing(gateway, ONE) as here, AsyncExitStack() as stack:
        second = await stack.enter_async_context(counting(redis_server))
        await stack.enter_async_context(viewing(second, OTHER))
        await until_count(here, 2)
        # As after a kill, the second renews and removes nothing.
        second.gateway.registry.viewers._shows.clear()
        await until_count(here, 1)


async def test_without_redis_each_gateway_counts_its_own_people(own_redis: RedisServer) -> None:
    async with (
        counting(own_redis) as gateway,
        counting(own_redis) as other,
        viewing(gateway, ONE) as here,
        viewing(other, OTHER),
    ):
        await until_count(here, 2)
        own_redis.kill()
        await until_count(here, 1)
        own_redis.start()
        await until_count(here, 2)


async def test_redis_keeps_digests_that_expire(
    gateway: RunningGateway, redis_server: RedisServer
) -> None:
    async with viewing(gateway, ONE, "ann") as client:
        await until_count(client, 1)
        [person] = redis_server.client().zrange(viewers.KEY_PREFIX + SHOW, 0, -1)
        assert person.decode() == viewers.person_of("user", "ann")
        left = redis_server.client().pttl(viewers.KEY_PREFIX + SHOW)
        assert 0 < left <= LEASE_SECONDS * 1000


async def test_above_a_hundred_people_a_count_is_sent_every_five_seconds() -> None:
    show = viewers.Show()
    for number in range(viewers.COUNT_AT_ONCE + 1):
        show.join(str(number))
    show.sent_at = 100.0
    assert show.is_busy(104.9)
    assert not show.is_busy(105.0)
    show.leave("1")
    assert not show.is_busy(100.0)


async def test_many_people_are_renewed_in_bounded_calls() -> None:
    people = [f"{number}" for number in range(2_500)]
    calls = list(viewers._calls(people, people[:1_500]))
    assert max(len(joining) + len(leaving) for joining, leaving in calls) == viewers.PEOPLE_PER_CALL
    assert json.dumps([one for joining, _ in calls for one in joining]) == json.dumps(people)
    assert [one for _, leaving in calls for one in leaving] == people[:1_500]
    assert list(viewers._calls([], [])) == [([], [])]
