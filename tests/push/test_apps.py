"""Several Pusher apps in one gateway: nothing of one reaches another."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pusher
import pytest

from backend.kernel.redis_url import redis_database, with_redis_database
from backend.kernel.settings import PushApp, SettingsError, load
from tests.push.servers import (
    APP_ID,
    HOST,
    KEY,
    SECRET,
    RedisServer,
    RunningGateway,
    running_gateway,
)

OTHER = PushApp("7", "other-key", "other-secret", 1)


@pytest.fixture
async def gateway(redis_server: RedisServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(redis_server.url, others=(OTHER,)) as running:
        yield running


def library(gateway: RunningGateway, app: PushApp) -> Any:
    return pusher.Pusher(
        app_id=app.id, key=app.key, secret=app.secret, host=HOST, port=gateway.port, ssl=False
    )


async def test_channels_of_two_apps_with_one_name_are_two_channels(
    gateway: RunningGateway,
) -> None:
    other = library(gateway, OTHER)
    async with (
        gateway.raw() as own,
        gateway.raw(f"/app/{OTHER.key}?protocol=7", origin="https://any.test") as foreign,
    ):
        for client in (own, foreign):
            await client.established()
            await client.send("pusher:subscribe", {"channel": "show-1"})
            await client.message("pusher_internal:subscription_succeeded")
        await asyncio.to_thread(other.trigger, "show-1", "n", "of the other")
        await gateway.call("trigger", "show-1", "n", "of the shop")
        assert await own.message("n") == {
            "event": "n",
            "channel": "show-1",
            "data": "of the shop",
        }
        assert (await foreign.message("n"))["data"] == "of the other"
        found = await asyncio.to_thread(other.channel_info, "show-1", ["subscription_count"])
        assert found["subscription_count"] == 1
        assert await asyncio.to_thread(other.terminate_user_connections, "ann") == {}


async def test_a_signature_of_one_app_is_worth_nothing_at_another(gateway: RunningGateway) -> None:
    own = gateway.pusher
    async with gateway.raw(f"/app/{OTHER.key}?protocol=7") as client:
        await client.established()
        request = {"channel": "private-a"} | own.authenticate("private-a", client.socket_id)
        await client.send("pusher:subscribe", request)
        refused = await client.data("pusher:subscription_error")
        assert refused["status"] == 401
        signed = library(gateway, OTHER).authenticate("private-a", client.socket_id)
        await client.send("pusher:subscribe", {"channel": "private-a"} | signed)
        await client.message("pusher_internal:subscription_succeeded")
    for app_id, key, secret in (
        (APP_ID, OTHER.key, OTHER.secret),
        (OTHER.id, KEY, SECRET),
        ("9", OTHER.key, OTHER.secret),
    ):
        client_of_other = library(gateway, PushApp(app_id, key, secret, 0))
        with pytest.raises(pusher.errors.PusherError):
            await asyncio.to_thread(client_of_other.trigger, "show-1", "n", "")


async def test_an_unknown_key_is_refused_and_each_app_is_checked(gateway: RunningGateway) -> None:
    async with gateway.raw("/app/unknown?protocol=7") as client:
        assert await client.close_code() == 4001
    async with asyncio.timeout(5):
        while (reply := await gateway.get("/readyz")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    checks = set(reply.json()["checks"])
    assert {"gateway.redis", f"app-{OTHER.id}.gateway.redis"} <= checks


@pytest.mark.parametrize(
    ("url", "number", "other"),
    [
        ("redis://:pw@host:6379/0", 0, "redis://:pw@host:6379/5"),
        ("redis://host:6379", 0, "redis://host:6379/5"),
        ("rediss://host/2?ssl_cert_reqs=none", 2, "rediss://host/5?ssl_cert_reqs=none"),
        ("unix:///run/redis.sock", 0, "unix:///run/redis.sock?db=5"),
        ("unix:///run/redis.sock?db=3&a=1", 3, "unix:///run/redis.sock?a=1&db=5"),
    ],
)
def test_the_database_of_a_redis_url_is_read_and_replaced(
    url: str, number: int, other: str
) -> None:
    assert redis_database(url) == number
    assert with_redis_database(url, 5) == other
    assert redis_database(other) == 5


MAIN = {"PUSHER_APP_ID": "1", "PUSHER_KEY": "k", "PUSHER_SECRET": "s", "REDIS_URL": "redis://h/0"}


def test_other_apps_are_read_from_a_setting() -> None:
    assert load(MAIN | {"REDIS_URL": "redis"}).other_push_apps == ()
    settings = load(MAIN | {"PUSH_APPS": "2:a:b:1, 3:c:d:2"})
    assert settings.other_push_apps == (PushApp("2", "a", "b", 1), PushApp("3", "c", "d", 2))


@pytest.mark.parametrize(
    "value",
    [
        "2",
        "2:a:b",
        "x:a:b:1",
        "2:a:b:x",
        "2::b:1",
        "1:a:b:1",
        "2:k:b:1",
        "2:a:b:0",
        "2:a:b:1,3:c:d:1",
    ],
)
def test_malformed_or_equal_apps_are_refused_without_their_values(value: str) -> None:
    with pytest.raises(SettingsError, match="PUSH_APPS must be") as refused:
        load(MAIN | {"PUSH_APPS": value})
    assert value not in str(refused.value)
