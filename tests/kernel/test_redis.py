"""Commands of Redis that fail promptly, and the probes while Redis is unreachable."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from backend.kernel.redis import FAILURES, PROMPT_SECONDS, CircuitBreaker, open_redis
from tests.push.servers import RedisServer
from tests.system import until

SENT = 40


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Redis]:
    server = RedisServer(tmp_path)
    server.start()
    client = open_redis(server.url, name="test")
    yield client
    await client.aclose()
    server.stop()


async def test_a_hanging_redis_fails_every_caller_promptly_and_is_used_when_it_returns(
    redis: Redis,
) -> None:
    breaker, sent = CircuitBreaker(), 0

    async def command() -> None:
        nonlocal sent
        sent += 1
        await redis.get("anything")

    async def answered() -> bool:
        try:
            await breaker.call(command)
        except FAILURES:
            return False
        return True

    assert await answered()
    pid = int((await redis.info("server"))["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(4 * PROMPT_SECONDS):
            assert not any(await asyncio.gather(*(answered() for _ in range(SENT))))
        sent = 0
        assert not any([await answered() for _ in range(SENT)])
        assert sent <= 1
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(answered)
    assert all(await asyncio.gather(*(answered() for _ in range(SENT))))


async def test_a_refused_command_opens_no_circuit(redis: Redis) -> None:
    breaker = CircuitBreaker()
    refused = redis.register_script("return redis.call('NOSUCH')")
    for _ in range(3):
        with pytest.raises(ResponseError):
            await breaker.call(refused)
    assert await breaker.call(lambda: redis.get("anything")) is None


async def test_a_cancelled_caller_abandons_its_command(redis: Redis) -> None:
    breaker = CircuitBreaker()
    ended = asyncio.Event()

    async def command() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    caller = asyncio.create_task(breaker.call(command))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    async with asyncio.timeout(1):
        await ended.wait()
    assert await breaker.call(lambda: redis.get("anything")) is None
