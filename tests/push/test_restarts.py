"""Restarts of gateways that run as processes of their own, while messages flow.

`make bench ARGS=resume` has the same gates with 2,000 clients, and bounds the time until a client
has what it missed.
"""

import pytest

from backend.push import push_log
from loadtests.bench import resume
from loadtests.plain_gateway import HOST, KEY
from loadtests.returning import gateways
from tests.push.servers import RedisServer
from tests.push.test_resume import Notifier, order
from tests.push.watcher import Watcher


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "LULL_SECONDS", 0.4)


async def test_a_rolling_restart_loses_no_message_of_200_clients(redis_server: RedisServer) -> None:
    report = await resume.survive(
        resume.rolling_restart, redis_server.url, clients=200, controls=0, ticks_per_second=8
    )
    assert (report.missed, report.not_current) == (0, 0)
    # Each client lost a gateway at least once, and none had to read the API.
    assert all(client.reconnects >= 1 for client in report.clients)
    assert sum(client.not_recovered for client in report.clients) == 0


async def test_a_killed_gateway_loses_no_message(redis_server: RedisServer) -> None:
    """Negative control: of the clients that only reconnect, half lose messages."""
    report = await resume.survive(
        resume.kill_one, redis_server.url, clients=200, controls=10, ticks_per_second=8
    )
    assert (report.missed, report.not_current) == (0, 0)
    assert sum(client.not_recovered for client in report.clients) == 0
    assert sum(client.missed > 0 for client in report.controls) >= 5


async def test_pusher_js_misses_nothing_when_its_gateway_is_killed(
    redis_server: RedisServer,
) -> None:
    async with (
        push_log.connect(redis_server.url, timeout_seconds=2) as redis,
        gateways(redis_server.url, count=1) as (gateway,),
        Watcher(host=HOST, port=gateway.port, key=KEY, channels=["a"]) as watcher,
    ):
        notifier = Notifier(redis)
        await notifier.publish(order(1))
        await watcher.subscribed("a")
        await notifier.publish(order(2))
        last = (await watcher.event("order", "a")).data
        while last["n"] < 2:
            last = (await watcher.event("order", "a")).data
        await gateway.kill()
        await notifier.publish(order(3), order(4))
        await gateway.start()
        await watcher.subscribed("a", seconds=20)
        request = {"channel": "a", "epoch": last["_epoch"], "seq": last["_seq"]}
        await watcher.do("send", event="gittix:resume", data=request)
        reply = (await watcher.event("gittix:resumed", "a")).data
        assert reply["recovered"]
        assert [seen.data["n"] for seen in watcher.events("order", "a")][-3:] == [2, 3, 4]
