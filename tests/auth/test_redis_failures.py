"""Guesses are limited whether Redis works, is down, is full or hangs."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import httpx
import msgspec
import pytest
import redis
from redis.exceptions import OutOfMemoryError

from backend.auth import limits
from backend.kernel.limits import Rate
from backend.kernel.settings import Settings
from tests.auth.conftest import PASSWORD, Serve, new_address, new_email, signed_up, visitor
from tests.push.servers import RedisServer
from tests.system import until

State = Callable[[RedisServer], AbstractContextManager[None]]
TEN_ANSWERED = [401] * 10 + [429] * 30


@contextmanager
def down(server: RedisServer) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def full(server: RedisServer) -> Iterator[None]:
    """Writes are refused with OOM errors, and reads work."""
    with redis.Redis.from_url(server.url) as client:
        client.set("filler", b"x" * 2**22)
        client.config_set("maxmemory", str(2**21))
        with pytest.raises(OutOfMemoryError):
            client.set("one", "more")
        yield
        client.delete("filler")
        client.config_set("maxmemory", "0")


@contextmanager
def hanging(server: RedisServer) -> Iterator[None]:
    """Connections are accepted, and no command is answered."""
    with redis.Redis.from_url(server.url) as client:
        pid = int(client.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


STATES: dict[str, State] = {
    "up": lambda _: nullcontext(),
    "down": down,
    "full": full,
    "hanging": hanging,
}
FAILING = [name for name in STATES if name != "up"]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def url(serve: Serve, settings: Settings, redis_server: RedisServer) -> Iterator[str]:
    with serve(msgspec.structs.replace(settings, redis_url=redis_server.url)) as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with visitor(url, new_address()) as client:
        client.timeout = httpx.Timeout(30)
        yield client


async def guess(client: httpx.AsyncClient, *emails: str) -> list[int]:
    """The statuses of simultaneous sign-ins with a wrong password, in ascending order."""
    replies = await asyncio.gather(
        *(
            client.post("/api/users/signin", json={"email": email, "password": "a wrong guess"})
            for email in emails
        )
    )
    return sorted(reply.status_code for reply in replies)


@pytest.mark.parametrize("state", STATES)
async def test_ten_of_forty_parallel_guesses_at_an_account_are_answered(
    state: str, client: httpx.AsyncClient, redis_server: RedisServer
) -> None:
    email = new_email()
    with STATES[state](redis_server):
        assert await guess(client, *[email] * 40) == TEN_ANSWERED


@pytest.mark.parametrize("state", STATES)
async def test_ten_of_forty_parallel_guesses_over_forty_accounts_are_answered(
    state: str,
    client: httpx.AsyncClient,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SIGN_IN_BY_ADDRESS", Rate("ten", 10, 900.0))
    with STATES[state](redis_server):
        assert await guess(client, *(new_email() for _ in range(40))) == TEN_ANSWERED


@pytest.mark.parametrize("state", FAILING)
async def test_the_owner_signs_in_while_redis_fails_and_stays_known(
    state: str,
    client: httpx.AsyncClient,
    url: str,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SIGN_IN_ANYWHERE", Rate("three-anywhere", 3, 900.0))
    email = new_email()
    await signed_up(client, email)
    right = {"email": email, "password": PASSWORD}
    with STATES[state](redis_server):
        assert (await client.post("/api/users/signin", json=right)).status_code == 200
        async with visitor(url, new_address()) as guesser:
            guesser.timeout = client.timeout
            assert await guess(guesser, *[email] * 5) == [401] * 3 + [429] * 2
        assert (await client.post("/api/users/signin", json=right)).status_code == 200


@pytest.mark.parametrize("state", FAILING)
async def test_redis_counts_again_when_it_returns(
    state: str,
    client: httpx.AsyncClient,
    redis_server: RedisServer,
    serve: Serve,
    settings: Settings,
) -> None:
    email, store = new_email(), redis.Redis.from_url(redis_server.url)
    with STATES[state](redis_server):
        assert await guess(client, email) == [401]

    async def redis_counts() -> bool:
        await guess(client, new_email())
        return bool(store.keys("gittix:auth:limits:*"))

    await until(redis_counts)
    store.close()
    other = serve(msgspec.structs.replace(settings, redis_url=redis_server.url))
    with other as other_url:
        async with visitor(other_url, client.headers["X-Forwarded-For"]) as at_other_process:
            assert await guess(client, *[email] * 4) == [401] * 4
            assert await guess(at_other_process, *[email] * 8) == [401] * 6 + [429] * 2
