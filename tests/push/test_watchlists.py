"""Watchlists over two gateways: the state at the sign-in, and each change once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from backend.push import signature
from tests.push.servers import KEY, SECRET, RawClient, RedisServer, RunningGateway, running_gateway

EVENTS = "pusher_internal:watchlist_events"
OPTIONS: dict[str, Any] = {"watchlists": True, "debounce_seconds": 0.3}


async def sign_in(client: RawClient, user: str, watchlist: Any = None) -> None:
    data = json.dumps({"id": user} | ({} if watchlist is None else {"watchlist": watchlist}))
    auth = signature.sign(SECRET, signature.signin_text(client.socket_id, data))
    await client.send("pusher:signin", {"auth": f"{KEY}:{auth}", "user_data": data})
    await client.message("pusher:signin_success")


@asynccontextmanager
async def signed_in(
    gateway: RunningGateway, user: str, watchlist: Any = None
) -> AsyncIterator[RawClient]:
    async with gateway.raw() as client:
        await client.established()
        await sign_in(client, user, watchlist)
        yield client


async def changes(client: RawClient) -> dict[str, list[str]]:
    events = (await client.data(EVENTS))["events"]
    return {event["name"]: event["user_ids"] for event in events}


async def silent(client: RawClient, seconds: float) -> bool:
    """Whether no change arrives in this time."""
    try:
        async with asyncio.timeout(seconds):
            await client.data(EVENTS)
    except TimeoutError:
        return True
    return False


@pytest.fixture
async def gateway(redis_server: RedisServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(redis_server.url, **OPTIONS) as running:
        yield running


@pytest.fixture
async def other(redis_server: RedisServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(redis_server.url, **OPTIONS) as running:
        yield running


async def test_the_state_at_the_sign_in_and_each_change_are_of_all_gateways(
    gateway: RunningGateway, other: RunningGateway
) -> None:
    async with signed_in(other, "bob"):
        await other.gateway.cluster._reported()
        async with signed_in(gateway, "ann", ["bob", "é|1", 7]) as ann:
            assert await changes(ann) == {"online": ["bob"], "offline": ["é|1", "7"]}
            async with signed_in(other, "é|1"):
                assert await changes(ann) == {"online": ["é|1"]}
                async with signed_in(gateway, "é|1"):
                    assert await silent(ann, 0.5)
            assert await changes(ann) == {"offline": ["é|1"]}


async def test_a_reload_is_no_change(gateway: RunningGateway, other: RunningGateway) -> None:
    async with signed_in(gateway, "ann", ["bob"]) as ann:
        assert await changes(ann) == {"offline": ["bob"]}
        async with signed_in(gateway, "bob"):
            assert await changes(ann) == {"online": ["bob"]}
        async with signed_in(other, "bob"):
            assert await silent(ann, 0.6)
        assert await changes(ann) == {"offline": ["bob"]}


async def test_the_first_hundred_users_are_watched_and_an_error_reports_the_rest(
    gateway: RunningGateway,
) -> None:
    users = [f"user-{number}" for number in range(101)]
    async with gateway.raw() as ann:
        await ann.established()
        await sign_in(ann, "ann", users)
        assert (await ann.data("pusher:error"))["code"] == 4302
        assert await changes(ann) == {"offline": users[:100]}
        async with signed_in(gateway, users[100]), signed_in(gateway, users[0]):
            assert await changes(ann) == {"online": [users[0]]}


@pytest.mark.parametrize("watchlist", [None, [], "bob", 7, [None, {}, ""]])
async def test_an_empty_or_malformed_watchlist_watches_nobody(
    gateway: RunningGateway, watchlist: Any
) -> None:
    async with signed_in(gateway, "ann", watchlist) as ann, signed_in(gateway, "bob"):
        assert await silent(ann, 0.3)


async def test_a_later_sign_in_replaces_the_watchlist(gateway: RunningGateway) -> None:
    async with signed_in(gateway, "ann", ["bob"]) as ann:
        assert await changes(ann) == {"offline": ["bob"]}
        await sign_in(ann, "ann", ["eve"])
        assert await changes(ann) == {"offline": ["eve"]}
        async with signed_in(gateway, "bob"), signed_in(gateway, "eve"):
            assert await changes(ann) == {"online": ["eve"]}


async def test_online_users_are_no_channels_and_no_events_of_webhooks(
    gateway: RunningGateway, redis_server: RedisServer
) -> None:
    async with signed_in(gateway, "ann", ["ann"]) as ann:
        assert await changes(ann) == {"online": ["ann"]}
        assert await gateway.call("channels_info") == {"channels": {}}
    assert redis_server.client().xlen("gittix:push:facts") == 0


async def test_a_closed_watcher_is_forgotten(gateway: RunningGateway) -> None:
    async with signed_in(gateway, "ann", ["bob"]) as ann:
        await changes(ann)
    watchlists = gateway.gateway.watchlists
    assert watchlists is not None
    async with asyncio.timeout(5):
        while watchlists._watched:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not watchlists._watchers
    assert not watchlists._arrived


async def test_without_the_setting_a_watchlist_is_ignored(redis_server: RedisServer) -> None:
    async with (
        running_gateway(redis_server.url) as gateway,
        signed_in(gateway, "ann", ["ann"]) as ann,
    ):
        assert await silent(ann, 0.3)
        assert redis_server.client().hlen("gittix:push:channels") == 0
