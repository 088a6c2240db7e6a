"""The clauses of the idempotency contract. Each raises AssertionError or TimeoutError for a store
that breaks it.
"""

import asyncio

import httpx

from tests.idempotency.routes import KeyedRoute
from tests.replies import code
from tests.system import until

REPEATS = 8
IN_FLIGHT = (409, "idempotency_key_in_flight")


async def a_repeat_gets_the_same_bytes_and_has_no_effect(route: KeyedRoute) -> None:
    before = await route.effects()
    first = await route.send("once")
    assert first.status_code < 300
    assert not _is_replayed(first)
    assert await route.effects() == before + 1
    for again in [await route.send("once") for _ in range(2)]:
        assert _is_replayed(again)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["content-type"] == first.headers["content-type"]
    assert await route.effects() == before + 1


async def a_key_of_another_body_is_refused(route: KeyedRoute) -> None:
    await route.send("once")
    before = await route.effects()
    reused = await route.send("once", other_body=True)
    assert code(reused) == (422, "idempotency_key_reused")
    assert await route.effects() == before
    assert _is_replayed(await route.send("once"))


async def a_key_is_its_users_own(route: KeyedRoute) -> None:
    first = await route.send("same")
    second = await route.send("same", by=route.shop.system.person("another"))
    assert not _is_replayed(second)
    assert code(second) not in {IN_FLIGHT, (422, "idempotency_key_reused")}
    assert second.content != first.content


async def a_repeat_waits_for_the_first_request(route: KeyedRoute) -> None:
    async with route.blocked():
        first = asyncio.create_task(route.send("once"))
        await until(route.is_blocked)
        early = await asyncio.wait_for(route.send("once"), 5)
        assert code(early) == IN_FLIGHT
        assert int(early.headers["retry-after"]) >= 1
    done = await first
    assert done.status_code < 300
    assert (await route.send("once")).content == done.content


async def repeats_at_the_same_time_have_one_effect(route: KeyedRoute) -> None:
    before = await route.effects()
    replies = await asyncio.gather(*(route.send("once") for _ in range(REPEATS)))
    done = [reply for reply in replies if reply.status_code < 300]
    assert len({reply.content for reply in done}) == 1
    assert {code(reply) for reply in replies if reply not in done} <= {IN_FLIGHT}
    assert await route.effects() == before + 1


async def a_crash_before_the_commit_leaves_nothing(route: KeyedRoute) -> None:
    before = await route.effects()
    async with route.failing():
        assert code(await route.send("once")) == (500, "internal_error")
    assert await route.effects() == before
    retried = await route.send("once")
    assert retried.status_code < 300
    assert not _is_replayed(retried)
    assert await route.effects() == before + 1


async def a_conflict_is_not_stored(route: KeyedRoute) -> None:
    async with route.conflicting():
        refused = [await route.send("once") for _ in range(2)]
    assert [reply.status_code for reply in refused] == [409, 409]
    assert not any(_is_replayed(reply) for reply in refused)
    assert IN_FLIGHT not in [code(reply) for reply in refused]
    assert (await route.send("once")).status_code < 300


async def a_key_is_new_again_after_a_day(route: KeyedRoute) -> None:
    first = await route.send("daily")
    await route.age(hours=23)
    again = await route.send("daily")
    assert _is_replayed(again)
    assert again.content == first.content
    await route.age(hours=25)
    anew = await route.send("daily")
    assert not _is_replayed(anew)
    if anew.status_code < 300:
        assert (await route.send("daily")).content == anew.content


def _is_replayed(reply: httpx.Response) -> bool:
    return "idempotent-replayed" in reply.headers


CLAUSES = (
    a_repeat_gets_the_same_bytes_and_has_no_effect,
    a_key_of_another_body_is_refused,
    a_key_is_its_users_own,
    a_repeat_waits_for_the_first_request,
    repeats_at_the_same_time_have_one_effect,
    a_crash_before_the_commit_leaves_nothing,
    a_conflict_is_not_stored,
    a_key_is_new_again_after_a_day,
)
