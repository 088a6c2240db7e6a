"""The push gateway measured from outside, and beside it the floor: a bare loop of write(2).

The gateway is `gittix serve push` in its own process. A C client counts the messages and takes
each latency from the time of the publish in the payload. Costs are CPU microseconds of the gateway
(user and system) for each delivered message of 300 bytes, with all that the gateway does for it:
the HTTP calls, the push log, the fan-out. The same client measures the floor before each row.
"""

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import pygal

from loadtests.bench.push_gateway import Gateway, HttpApi, changes, gateway
from loadtests.bench.push_programs import Fanout, Program, floor, load_client
from loadtests.bench.results import FOLDER, publish
from loadtests.bench.stores import bare_stores

CHANNEL = "bench"
STEADY = [Fanout(sockets, rate=20, ticks=100) for sockets in (500, 2_000)]
BURSTS = [Fanout(sockets, rate=5, ticks=25, joined=20) for sockets in (500, 2_000)]
# The plots: costs against sockets, at 20 messages a second; against messages, at 500 sockets.
BY_SOCKETS = [Fanout(sockets, rate=20, ticks=60) for sockets in (50, 200, 500, 1_000, 2_000, 4_000)]
BY_MESSAGES = [Fanout(500, rate=rate, ticks=int(rate * 3)) for rate in (5, 20, 50, 100, 200)]
PUBLISHES = Fanout(50, rate=100, ticks=500)
HOT_SOCKETS, HOT_RATE, HOT_SECONDS = 10_000, 100, 10
IDLE_SOCKETS = 20_000
CONNECTS = 2_000
CONNECT_ROUNDS = 3
# A socket counts for its address for 10 s, also when it is closed earlier.
ADDRESS_SECONDS = 11
# Above 100 subscribers, a count of subscriptions is sent within five seconds of the last change.
SETTLE_SECONDS = 5.5
# After so many seconds more, the messages that did not arrive are counted as late.
LATE_SECONDS = 15.0

Row = dict[str, Any]
Trigger = Callable[[Gateway, Fanout], Awaitable[None]]


async def measure() -> None:
    _raise_file_limit()
    rows, others = Rows(), Rows()
    async with bare_stores() as (settings, _):
        url = settings.role_database_url("push")

        async def of(fanout: Fanout, trigger: Trigger, channel: str = CHANNEL) -> Row:
            async with gateway(settings, url) as server:
                return await _fan_out(server, fanout, trigger, channel)

        for fanout in STEADY:
            rows[f"{fanout.sockets} sockets, 20 messages/s"] = await _beside_floor(fanout, of)
        for fanout in BURSTS:
            rows[f"{fanout.sockets} sockets, 5 bursts of 20/s"] = await _beside_floor(fanout, of)
        others["one publish, to 50 sockets"] = await _publish(of)
        async with gateway(settings, url) as server:
            others[f"{CONNECTS} connects and subscribes"] = await _connects(server)
        async with gateway(settings, url) as server:
            others["an idle subscribed socket"] = await _idle(server)
        hot = Fanout(HOT_SOCKETS, rate=HOT_RATE, ticks=HOT_RATE * HOT_SECONDS)
        rows[f"a hot show: {HOT_SOCKETS} sockets, {HOT_RATE} changes/s"] = await of(
            hot, _append, "show-hot"
        )
        publish("push", rows)
        publish("push-others", others)
        _plot("sockets", {f.sockets: await _beside_floor(f, of) for f in BY_SOCKETS})
        _plot("messages", {int(f.rate): await _beside_floor(f, of) for f in BY_MESSAGES})


class Rows(dict[str, Row]):
    """The rows of the table; each is printed when it is known."""

    def __setitem__(self, name: str, row: Row) -> None:
        print(f"{name}: {row}", flush=True)
        super().__setitem__(name, row)


async def _beside_floor(fanout: Fanout, of: Callable[[Fanout, Trigger], Awaitable[Row]]) -> Row:
    bare = await floor(fanout)
    ours = await of(fanout, _trigger)
    return {
        "floor, µs": round(bare["µs"], 2),
        **ours,
        "times": round(ours["µs"] / bare["µs"], 2),
    }


async def _fan_out(server: Gateway, fanout: Fanout, trigger: Trigger, channel: str) -> Row:
    async with load_client(server.port, fanout.sockets, server.path, channel) as client:
        await client.line()
        await asyncio.sleep(SETTLE_SECONDS)
        await client.ask("reset")
        before, began = server.usage(), time.perf_counter()
        await trigger(server, fanout)
        found = await _arrived(client, fanout.deliveries)
        seconds, after = time.perf_counter() - began, server.usage()
    if found["closed"]:
        raise SystemExit(f"the gateway closed {found['closed']} sockets that read at once")
    used = after.cpu_seconds - before.cpu_seconds
    return {
        "µs": round(used * 1e6 / max(1, found["messages"]), 2),
        "p50, ms": found["p50_ms"],
        "p99, ms": found["p99_ms"],
        "CPU, %": round(100 * used / seconds),
        "messages/s": round(found["messages"] / seconds),
        "late": fanout.deliveries - found["messages"],
    }


async def _trigger(server: Gateway, fanout: Fanout) -> None:
    async with server.api() as api:
        await _paced(fanout, lambda: _publish_once(api, fanout))


async def _publish_once(api: HttpApi, fanout: Fanout) -> None:
    await api.publish(CHANNEL, fanout.joined)


async def _append(server: Gateway, fanout: Fanout) -> None:
    """As the notifier: to the push log, without the HTTP API."""
    async with server.push_log() as push_log:
        await _paced(fanout, lambda: push_log.append(*changes("show-hot", fanout.joined)))


async def _paced(fanout: Fanout, once: Callable[[], Awaitable[None]]) -> None:
    began = time.perf_counter()
    for tick in range(fanout.ticks):
        early = began + tick / fanout.rate - time.perf_counter()
        if early > 0:
            await asyncio.sleep(early)
        await once()


async def _arrived(client: Program, expected: int) -> Row:
    """The client's counts once all messages arrived, or after LATE_SECONDS."""
    deadline = time.monotonic() + LATE_SECONDS
    while True:
        found = await client.report()
        if found["messages"] >= expected or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.05)


async def _publish(of: Callable[[Fanout, Trigger], Awaitable[Row]]) -> Row:
    """The CPU of one publish, with its 50 deliveries and without the cost of their writes."""
    bare, ours = await floor(PUBLISHES), await of(PUBLISHES, _trigger)
    whole = ours["µs"] * PUBLISHES.sockets / 1000
    return {
        "CPU, ms": round(whole, 2),
        "without the writes, ms": round(whole - bare["µs"] * PUBLISHES.sockets / 1000, 2),
        **{name: ours[name] for name in ("p50, ms", "p99, ms")},
    }


async def _connects(server: Gateway) -> Row:
    taken, used = [], []
    for _ in range(CONNECT_ROUNDS):
        before = server.usage()
        async with load_client(server.port, CONNECTS, server.path, CHANNEL) as client:
            taken.append(float(await client.line()))
            used.append(server.usage().cpu_seconds - before.cpu_seconds)
        await asyncio.sleep(1)
    return {
        "seconds": round(median(taken) / 1000, 2),
        "CPU of a connect, µs": round(median(used) * 1e6 / CONNECTS),
    }


async def _idle(server: Gateway) -> Row:
    """The memory of a socket of `CONNECTS`, and of as many as the limit of open files permits."""
    row: Row = {}
    most = min(IDLE_SOCKETS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3 // 4 - 100)
    for sockets in (CONNECTS, most):
        before = server.usage()
        async with load_client(server.port, sockets, server.path, CHANNEL) as client:
            await client.line()
            await asyncio.sleep(SETTLE_SECONDS)
            after, found = server.usage(), await client.report()
            more = after.resident_kilobytes - before.resident_kilobytes
            row[f"KB, of {sockets}"] = round(more / sockets, 1)
            if found["closed"]:
                raise SystemExit(f"{found['closed']} of {sockets} idle sockets were closed")
        await asyncio.sleep(ADDRESS_SECONDS)
    return row


def _plot(against: str, rows: dict[int, Row]) -> None:
    """Write `.cache/bench/push-<against>.svg`."""
    title = {
        "sockets": "CPU of a delivered message: 20 messages a second",
        "messages": "CPU of a delivered message: 500 sockets",
    }[against]
    chart = pygal.Line(
        title=title,
        x_title=against if against == "sockets" else "messages a second",
        y_title="µs",
        # No script is fetched from anywhere.
        js=[],
        style=pygal.style.CleanStyle,
        range=(0, max(row["µs"] for row in rows.values())),
    )
    chart.x_labels = [f"{at:,}" for at in rows]
    chart.add("gateway", [row["µs"] for row in rows.values()])
    chart.add("write(2)", [row["floor, µs"] for row in rows.values()])
    path = FOLDER / f"push-{against}.svg"
    path.write_bytes(chart.render())
    publish(f"push-{against}", {f"{at:,} {against}": row for at, row in rows.items()})
    print(f"plotted in {path}")


def _raise_file_limit() -> None:
    """For the processes that this one starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
