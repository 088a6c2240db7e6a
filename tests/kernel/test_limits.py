"""Limits counted by a process alone and in Redis: the same formulas, before the action."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from math import ceil
from typing import Protocol

import pytest
from redis.asyncio import Redis

from backend.kernel.limits import FULL_SECONDS, Check, LocalCounters, Lockout, Rate, by_address
from backend.kernel.redis import CircuitBreaker, open_redis
from backend.kernel.redis_limits import Admission, SharedCounters
from tests.system import System

RATE = Rate("rate", 3, 30.0)
LOCKOUT = Lockout("lockout", free=3, first=15.0, longest=900.0)
DAY = 86_400
PREFIX = "test:limits"


class Counters(Protocol):
    async def admit(self, checks: Sequence[Check]) -> float: ...
    async def give_back(self, checks: Sequence[Check], cleared: Sequence[Check] = ()) -> None: ...
    async def pass_time(self, seconds: float) -> None: ...


class InProcess:
    def __init__(self) -> None:
        self.now = 1000.0
        self._counters = LocalCounters(clock=lambda: self.now)

    async def admit(self, checks: Sequence[Check]) -> float:
        return self._counters.admit(checks)

    async def give_back(self, checks: Sequence[Check], cleared: Sequence[Check] = ()) -> None:
        self._counters.give_back(checks)
        self._counters.clear(cleared)

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds


class InRedis:
    """Redis's clock is real: time passes by moving the counts into the past."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._move = redis.register_script("redis.call('HINCRBYFLOAT', KEYS[1], 'at', ARGV[1])")
        self._counters = SharedCounters(redis, CircuitBreaker(), PREFIX)

    async def admit(self, checks: Sequence[Check]) -> float:
        admission = await self._counters.admit(checks)
        assert not admission.local
        return admission.wait_seconds

    async def give_back(self, checks: Sequence[Check], cleared: Sequence[Check] = ()) -> None:
        await self._counters.give_back(Admission(0.0, local=False), checks, cleared=cleared)

    async def pass_time(self, seconds: float) -> None:
        async for key in self._redis.scan_iter(f"{PREFIX}:*"):
            left = await self._redis.pttl(key) - ceil(seconds * 1000)
            if left <= 0:
                await self._redis.delete(key)
            else:
                await self._move(keys=[key], args=[-seconds * 1000])
                await self._redis.pexpire(key, left)


@pytest.fixture(params=["process", "redis"])
def counters(request: pytest.FixtureRequest) -> Counters:
    if request.param == "process":
        return InProcess()
    system: System = request.getfixturevalue("system")
    return InRedis(system.redis())


def check(limit: Rate | Lockout, key: str = "ada") -> list[Check]:
    return [Check(limit, key)]


async def admitted(counters: Counters, checks: Sequence[Check], attempts: int) -> int:
    return [await counters.admit(checks) for _ in range(attempts)].count(0.0)


async def test_a_rate_admits_its_burst_and_then_one_in_each_step(counters: Counters) -> None:
    assert await admitted(counters, check(RATE), 5) == 3
    assert await counters.admit(check(RATE)) == pytest.approx(10, abs=1)
    await counters.pass_time(10)
    assert await admitted(counters, check(RATE), 2) == 1
    await counters.pass_time(30)
    assert await admitted(counters, check(RATE), 5) == 3
    assert await counters.admit(check(RATE, "bob")) == 0


async def test_a_lockout_doubles_its_wait_up_to_the_longest(counters: Counters) -> None:
    assert await admitted(counters, check(LOCKOUT), 4) == 3
    for wait in (15, 30, 60, 120, 240, 480, 900, 900):
        assert await counters.admit(check(LOCKOUT)) == pytest.approx(wait, abs=1)
        await counters.pass_time(wait - 2)
        assert await counters.admit(check(LOCKOUT)) == pytest.approx(2, abs=1)
        await counters.pass_time(2)
        assert await admitted(counters, check(LOCKOUT), 2) == 1


async def test_attempts_are_forgotten_after_a_quarter_of_an_hour_for_each(
    counters: Counters,
) -> None:
    await admitted(counters, check(LOCKOUT), 2)
    await counters.pass_time(2 * 900 - 5)
    assert await admitted(counters, check(LOCKOUT), 2) == 1
    await counters.pass_time(3 * 900 + 5)
    assert await admitted(counters, check(LOCKOUT), 5) == 3


async def test_attempts_of_a_long_attack_are_forgotten_after_a_day(counters: Counters) -> None:
    await admitted(counters, check(LOCKOUT), 3)
    for _ in range(100):
        await counters.pass_time(900)
        assert await counters.admit(check(LOCKOUT)) == 0
    await counters.pass_time(DAY - 5)
    assert await admitted(counters, check(LOCKOUT), 5) == 1
    await counters.pass_time(DAY + 5)
    assert await admitted(counters, check(LOCKOUT), 5) == 3


async def test_a_refused_action_is_counted_by_no_limit(counters: Counters) -> None:
    both = [*check(RATE), *check(LOCKOUT)]
    await admitted(counters, check(RATE), 3)
    assert await admitted(counters, both, 20) == 0
    await counters.pass_time(30)
    assert await admitted(counters, both, 20) == 3


async def test_the_longest_wait_counts(counters: Counters) -> None:
    both = [*check(RATE), *check(LOCKOUT)]
    await admitted(counters, both, 3)
    assert await counters.admit(both) == pytest.approx(15, abs=1)
    assert await counters.admit(list(reversed(both))) == pytest.approx(15, abs=1)


@pytest.mark.parametrize("limit", [RATE, LOCKOUT], ids=lambda limit: limit.name)
async def test_an_action_can_be_given_back(counters: Counters, limit: Rate | Lockout) -> None:
    await admitted(counters, check(limit), 3)
    await counters.give_back(check(limit))
    assert await admitted(counters, check(limit), 3) == 1
    for _ in range(5):
        await counters.give_back(check(limit))
    assert await admitted(counters, check(limit), 5) == 3
    await counters.give_back([], cleared=check(limit))
    assert await admitted(counters, check(limit), 5) == 3


async def test_a_given_back_action_does_not_end_a_running_wait(counters: Counters) -> None:
    await admitted(counters, check(LOCKOUT), 3)
    await counters.pass_time(15)
    await admitted(counters, check(LOCKOUT), 1)
    await counters.give_back(check(LOCKOUT))
    assert await counters.admit(check(LOCKOUT)) == pytest.approx(15, abs=1)


async def test_an_ipv6_network_and_its_site_are_limited(counters: Counters) -> None:
    def at(network: int) -> list[Check]:
        return by_address(RATE, f"2001:db8:1:{network:x}::1")

    assert await admitted(counters, at(0), 5) == 3
    assert [await admitted(counters, at(network), 5) for network in range(1, 6)] == [3, 3, 3, 0, 0]
    assert await admitted(counters, by_address(RATE, "2001:db8:2::1"), 5) == 3
    assert await admitted(counters, by_address(RATE, "203.0.113.1"), 5) == 3


@pytest.mark.parametrize("seed", range(4))
async def test_redis_and_a_process_decide_alike(system: System, seed: int) -> None:
    chance = random.Random(seed)
    in_redis, in_process = InRedis(system.redis()), InProcess()
    keys = [*check(RATE), *check(LOCKOUT), *check(RATE, "bob"), *check(LOCKOUT, "bob")]
    for _ in range(150):
        checks = chance.sample(keys, chance.choice([1, 2]))
        step = chance.random()
        if step < 0.6:
            waits = [await counters.admit(checks) for counters in (in_redis, in_process)]
            assert waits[0] == pytest.approx(waits[1], abs=2)
            assert (waits[0] == 0) is (waits[1] == 0)
        seconds = chance.choice([4.37, 11.71, 137.13, 1003.9])
        for counters in (in_redis, in_process):
            if 0.6 <= step < 0.8:
                await counters.pass_time(seconds)
            elif step >= 0.8:
                await counters.give_back(checks)


@pytest.fixture
async def processes(system: System) -> AsyncIterator[list[SharedCounters]]:
    """The counters of four processes."""
    async with AsyncExitStack() as stack:
        clients = [open_redis(system.settings.redis_url, name=f"test-{i}") for i in range(4)]
        for client in clients:
            stack.push_async_callback(client.aclose)
        yield [SharedCounters(client, CircuitBreaker(), PREFIX) for client in clients]


async def test_parallel_actions_of_several_processes_do_not_pass_a_limit(
    processes: list[SharedCounters],
) -> None:
    both = [*check(Rate("ten", 10, 900.0)), *check(Lockout("ten", 10, 15.0, 900.0))]
    admissions = await asyncio.gather(
        *(counters.admit(both) for counters in processes for _ in range(10))
    )
    assert [admission.wait_seconds for admission in admissions].count(0.0) == 10
    assert not any(admission.local for admission in admissions)


async def test_a_count_in_redis_expires_when_it_is_forgotten(system: System) -> None:
    redis = system.redis()
    counters = SharedCounters(redis, CircuitBreaker(), PREFIX)
    await counters.admit([*check(RATE), *check(LOCKOUT)])
    await counters.admit(check(LOCKOUT))
    assert await redis.pttl(f"{PREFIX}:rate:ada") == pytest.approx(10_000, abs=1000)
    assert await redis.pttl(f"{PREFIX}:lockout:ada") == pytest.approx(1_800_000, abs=1000)


def test_a_full_table_refuses_new_callers_and_forgets_no_count() -> None:
    now = 0.0
    counters = LocalCounters(size=50, clock=lambda: now)
    for _ in range(3):
        counters.admit(check(LOCKOUT, "guesser"))
    flood = [counters.admit(check(LOCKOUT, f"invented-{number}")) for number in range(1000)]
    assert flood.count(0.0) == 49
    assert set(flood) == {0.0, FULL_SECONDS}
    assert len(counters) == 50
    assert counters.admit(check(LOCKOUT, "guesser")) == pytest.approx(15)
    now = 901.0
    assert counters.admit(check(LOCKOUT, "newcomer")) == 0


def test_ended_counts_leave_the_table() -> None:
    now = 0.0
    counters = LocalCounters(clock=lambda: now)
    for number in range(1000):
        now += 1
        counters.admit(check(RATE, str(number)))
    assert len(counters) < 20
