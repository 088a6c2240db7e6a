"""Limits on attempts, and that an attacker's attempts do not lock the owner out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest

from backend.auth import limits
from backend.auth.errors import Busy
from backend.auth.passwords import Passwords
from backend.auth.turns import Turns
from backend.kernel.limits import Rate
from backend.kernel.settings import Settings
from tests.auth.conftest import PASSWORD, Browse, Serve, new_address, new_email, signed_up, visitor
from tests.replies import code

At = Callable[[str], httpx.AsyncClient]


@pytest.fixture
async def at(base_url: str) -> AsyncIterator[At]:
    """Creates a browser at an address."""
    clients = []

    def open_client(address: str) -> httpx.AsyncClient:
        clients.append(visitor(base_url, address))
        return clients[-1]

    yield open_client
    for client in clients:
        await client.aclose()


async def sign_in(
    client: httpx.AsyncClient, email: str, password: str = "a wrong guess"
) -> httpx.Response:
    return await client.post("/api/users/signin", json={"email": email, "password": password})


async def test_ten_guesses_at_an_account_from_an_address(at: At) -> None:
    email = new_email()
    await signed_up(at(new_address()), email)
    guesser = at(new_address())
    guesses = [code(await sign_in(guesser, email)) for _ in range(11)]
    assert guesses == [(401, "bad_credentials")] * 10 + [(429, "too_many_attempts")]
    refused = await sign_in(guesser, email, PASSWORD)
    assert code(refused) == (429, "too_many_attempts")
    wait = int(refused.headers["retry-after"])
    assert 10 < wait <= 15
    assert refused.json()["detail"] == f"too many attempts; try again in {wait} s"


async def test_an_unknown_email_is_limited_like_a_known_one(at: At) -> None:
    email, guesser = new_email(), at(new_address())
    assert [(await sign_in(guesser, email)).status_code for _ in range(11)] == [401] * 10 + [429]


async def test_the_owner_at_another_address_is_not_locked_out(at: At) -> None:
    email = new_email()
    await signed_up(at(new_address()), email)
    guesser = at(new_address())
    for _ in range(11):
        await sign_in(guesser, email)
    assert (await sign_in(at(new_address()), email, PASSWORD)).status_code == 200


async def test_a_successful_sign_in_clears_the_attempts(at: At) -> None:
    email, client = new_email(), at(new_address())
    await signed_up(client, email)
    for _ in range(2):
        for _ in range(9):
            assert (await sign_in(client, email)).status_code == 401
        assert (await sign_in(client, email, PASSWORD)).status_code == 200


async def test_the_limit_over_all_addresses_exempts_an_address_of_the_owner(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SIGN_IN_ANYWHERE", Rate("few-anywhere", 3, 900.0))
    email, home = new_email(), new_address()
    await signed_up(at(home), email)
    assert (await sign_in(at(home), email, PASSWORD)).status_code == 200
    guesses = [await sign_in(at(new_address()), email) for _ in range(5)]
    assert [guess.status_code for guess in guesses] == [401, 401, 401, 429, 429]
    assert (await sign_in(at(new_address()), email, PASSWORD)).status_code == 429
    assert (await sign_in(at(home), email, PASSWORD)).status_code == 200


async def test_failures_on_many_accounts_limit_their_address(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SIGN_IN_BY_ADDRESS", Rate("few-failures", 3, 900.0))
    sprayer = at(new_address())
    sprayed = [(await sign_in(sprayer, new_email())).status_code for _ in range(4)]
    assert sprayed == [401, 401, 401, 429]
    assert (await sign_in(at(new_address()), new_email())).status_code == 401


async def test_the_accounts_known_at_an_address_are_not_locked_out_by_guesses_at_others(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SIGN_IN_BY_ADDRESS", Rate("few-strangers", 3, 900.0))
    email, office = new_email(), new_address()
    await signed_up(at(new_address()), email)
    assert (await sign_in(at(office), email, PASSWORD)).status_code == 200
    guesses = [(await sign_in(at(office), new_email())).status_code for _ in range(5)]
    assert guesses == [401, 401, 401, 429, 429]
    assert (await sign_in(at(office), email, PASSWORD)).status_code == 200


async def test_successful_sign_ins_are_not_counted(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIGN_IN_ANYWHERE", "SIGN_IN_BY_ADDRESS", "KNOWN_BY_ADDRESS"):
        monkeypatch.setattr(limits, name, Rate(f"two-{name}", 2, 900.0))
    school = new_address()
    emails = [new_email() for _ in range(4)]
    for email in emails:
        await signed_up(at(new_address()), email)
    for email in [*emails, *emails]:
        assert (await sign_in(at(school), email, PASSWORD)).status_code == 200


async def test_an_attempt_that_could_not_be_checked_is_given_back(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> bool:
        raise Busy

    email, client = new_email(), at(new_address())
    await signed_up(at(new_address()), email)
    with monkeypatch.context() as patch:
        patch.setattr(Passwords, "verify", full)
        assert {(await sign_in(client, email)).status_code for _ in range(12)} == {503}
    assert (await sign_in(client, email, PASSWORD)).status_code == 200


async def test_one_ipv6_network_is_one_caller(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIGN_UP", Rate("few-sign-ups", 2, 3600.0))
    replies = [
        await at(f"2001:db8:1:2::{host}").post(
            "/api/users/signup", json={"email": new_email(), "password": PASSWORD}
        )
        for host in range(1, 4)
    ]
    assert [reply.status_code for reply in replies] == [201, 201, 429]
    assert code(replies[2]) == (429, "too_many_attempts")


async def test_refreshes_of_an_address_are_limited(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFRESH", Rate("few-refreshes", 2, 900.0))
    client = at(new_address())
    await signed_up(client)
    assert [(await client.post("/api/users/refresh")).status_code for _ in range(3)] == [
        200,
        200,
        429,
    ]


async def test_a_sign_up_that_had_to_wait_too_long_is_given_back(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> str:
        raise Busy

    monkeypatch.setattr(limits, "SIGN_UP", Rate("one-sign-up", 1, 3600.0))
    client, body = at(new_address()), {"email": new_email(), "password": PASSWORD}
    with monkeypatch.context() as patch:
        patch.setattr(Passwords, "hash", full)
        for _ in range(3):
            assert (await client.post("/api/users/signup", json=body)).status_code == 503
    assert (await client.post("/api/users/signup", json=body)).status_code == 201
    assert (await client.post("/api/users/signup", json=body)).status_code == 429


@asynccontextmanager
async def served(serve: Serve, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    with serve(settings) as url:
        async with visitor(url, new_address()) as client:
            yield client


async def test_limits_can_be_off(serve: Serve, settings: Settings) -> None:
    email = new_email()
    async with served(serve, msgspec.structs.replace(settings, rate_limits="off")) as client:
        replies = [await sign_in(client, email) for _ in range(12)]
    assert {reply.status_code for reply in replies} == {401}


async def test_sign_in_works_while_redis_is_unavailable(serve: Serve, settings: Settings) -> None:
    email = new_email()
    gone = msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:1")
    async with served(serve, gone) as client:
        await signed_up(client, email)
        assert (await sign_in(client, email, PASSWORD)).status_code == 200
        ready = await client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["auth.database"] == "ok"


async def test_without_a_trusted_proxy_the_peer_is_limited(
    serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SIGN_IN_BY_ADDRESS", Rate("few-of-peer", 2, 900.0))
    async with served(serve, msgspec.structs.replace(settings, trusted_proxies="")) as client:
        statuses = []
        for _ in range(3):
            client.headers["X-Forwarded-For"] = new_address()
            statuses.append((await sign_in(client, new_email())).status_code)
    assert statuses == [401, 401, 429]


async def test_the_queue_for_password_checks_is_bounded() -> None:
    passwords = Passwords(threads=1, waiting=2)
    outcomes = await asyncio.gather(
        *(passwords.hash(PASSWORD) for _ in range(6)), return_exceptions=True
    )
    assert [isinstance(outcome, Busy) for outcome in outcomes] == [False] * 3 + [True] * 3
    assert await passwords.verify(str(outcomes[0]), PASSWORD)
    passwords.close()


async def test_a_wait_that_times_out_frees_its_slot_when_the_hash_ends() -> None:
    passwords = Passwords(threads=1, waiting=0, seconds=0.001)
    with pytest.raises(Busy) as slow:
        await passwords.hash(PASSWORD)
    assert slow.value.response().headers["retry-after"] == "2"
    patient = Passwords(threads=1, waiting=0)
    for _ in range(3):
        await patient.hash(PASSWORD)
    passwords.close()
    patient.close()


async def test_a_flood_of_one_address_delays_others_by_one_check_and_refuses_none() -> None:
    passwords = Passwords(threads=1, waiting=10)
    ended: list[str] = []

    async def check(address: str) -> None:
        await passwords.hash(PASSWORD, address=address)
        ended.append(address)

    flood = [asyncio.create_task(check("203.0.113.1")) for _ in range(11)]
    await asyncio.sleep(0)
    others = [asyncio.create_task(check(f"198.51.100.{number}")) for number in range(3)]
    outcomes = await asyncio.gather(*flood, *others, return_exceptions=True)
    # Each of the others took the place of the flood's newest check.
    refused = [isinstance(outcome, Busy) for outcome in outcomes]
    assert refused == [False] * 8 + [True] * 3 + [False] * 3
    # One check ran, and one had its turn; then each of the others had one.
    assert [ended.index(f"198.51.100.{number}") for number in range(3)] == [2, 3, 4]
    passwords.close()


async def test_addresses_with_as_many_checks_keep_their_places() -> None:
    passwords = Passwords(threads=1, waiting=2)
    outcomes = await asyncio.gather(
        *(passwords.hash(PASSWORD, address=f"198.51.100.{number}") for number in range(4)),
        return_exceptions=True,
    )
    assert [isinstance(outcome, Busy) for outcome in outcomes] == [False] * 3 + [True]
    passwords.close()


async def test_a_check_whose_caller_left_gives_its_place_to_the_next() -> None:
    passwords = Passwords(threads=1, waiting=2)
    checks = [asyncio.create_task(passwords.hash(PASSWORD, address=at)) for at in "abc"]
    await asyncio.sleep(0)
    checks[1].cancel()
    await asyncio.sleep(0)
    await passwords.hash(PASSWORD, address="d")
    outcomes = await asyncio.gather(*checks, return_exceptions=True)
    assert [isinstance(outcome, str) for outcome in outcomes] == [True, False, True]
    passwords.close()


@pytest.mark.parametrize("left_first", [True, False])
async def test_a_turn_that_comes_while_its_caller_leaves_goes_to_the_next(
    *, left_first: bool
) -> None:
    turns = Turns(at_once=1, waiting=1)
    await turns.take("a")
    leaving = asyncio.create_task(turns.take("b"))
    await asyncio.sleep(0)
    steps = (leaving.cancel, turns.give_back)
    for step in steps if left_first else reversed(steps):
        step()
    await asyncio.gather(leaving, return_exceptions=True)
    async with asyncio.timeout(5):
        await turns.take("c")
        waiting = asyncio.create_task(turns.take("d"))
        await asyncio.sleep(0)
        turns.give_back()
        await waiting


async def test_a_full_queue_is_a_503_with_retry_after(
    browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> str:
        raise Busy

    monkeypatch.setattr(Passwords, "hash", full)
    reply = await browse().post(
        "/api/users/signup", json={"email": new_email(), "password": PASSWORD}
    )
    assert code(reply) == (503, "busy")
    assert reply.headers["retry-after"] == "2"
