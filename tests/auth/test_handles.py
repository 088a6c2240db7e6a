"""Handles: generated at sign-up, unique, changeable, and reserved after a change."""

import asyncio
import re
from itertools import product
from uuid import UUID

import asyncpg
import httpx
import pytest

from backend.auth.limits import CHANGE_HANDLE
from backend.auth.service import HANDLE
from backend.kernel.database import Connection
from tests.auth.conftest import PASSWORD, Browse, new_email, signed_up
from tests.replies import code

GENERATED = re.compile(r"[a-z]+-[a-z]+-[1-9][0-9]{3}")
CURRENT_USER = "/api/users/currentuser"


async def change(browser: httpx.AsyncClient, handle: str) -> httpx.Response:
    return await browser.put(CURRENT_USER, json={"handle": handle})


async def handle_of(browser: httpx.AsyncClient) -> str:
    handle: str = (await browser.get(CURRENT_USER)).json()["current_user"]["handle"]
    return handle


async def test_a_new_account_gets_a_handle_that_is_not_made_of_its_email(
    browse: Browse,
) -> None:
    handles = []
    for _ in range(2):
        await signed_up(browse_one := browse(), new_email())
        handles.append(await handle_of(browse_one))
    assert all(GENERATED.fullmatch(handle) for handle in handles)
    assert len(set(handles)) == 2


async def test_a_generated_handle_is_one_that_nobody_has(rows: Connection) -> None:
    transaction = rows.transaction()
    await transaction.start()
    try:
        await rows.execute(
            """
            delete from auth.handle_words where number > 0;
            insert into auth.handles (handle, user_id)
            select 'amber-acorn-' || n, gen_random_uuid() from generate_series(1000, 9999) n
            where n % 4 = 1
            """
        )
        made = await rows.fetch(
            "insert into auth.users (email, password_hash)"
            " select n || '@b.example', 'x' from generate_series(1, 30) n returning handle"
        )
    finally:
        await transaction.rollback()
    numbers = {int(row["handle"].removeprefix("amber-acorn-")) for row in made}
    assert len(numbers) == 30
    assert 1 not in {number % 4 for number in numbers}


async def test_words_and_digits_never_look_like_other_words_and_digits(rows: Connection) -> None:
    words = await rows.fetch("select place, word from auth.handle_words")
    first, second = ([word for place, word in words if place == which] for which in (1, 2))
    assert (len(first), len(second)) == (64, 64)
    skeletons = {
        "".join(pair).translate(str.maketrans("01i", "oll")) for pair in product(first, second)
    }
    assert len(skeletons) == 64 * 64
    assert all(HANDLE.fullmatch(f"{one}-{two}-1000") for one, two in product(first, second))


async def test_a_sign_up_may_choose_its_handle(browse: Browse) -> None:
    body = {"email": new_email(), "password": PASSWORD, "handle": " Sea.Front "}
    made = await browse().post("/api/users/signup", json=body)
    assert made.json()["current_user"]["handle"] == "sea.front"
    again = await browse().post("/api/users/signup", json=body | {"email": new_email()})
    assert code(again) == (409, "handle_taken")


async def test_a_changed_handle_is_returned_at_once_and_published(
    browser: httpx.AsyncClient, rows: Connection
) -> None:
    user_id = await signed_up(browser)
    for _ in range(2):  # the second request changes nothing
        reply = await change(browser, "Kind_Heron")
        assert reply.status_code == 200
        assert reply.json()["current_user"]["handle"] == "kind_heron"
    assert await handle_of(browser) == "kind_heron"
    assert (await browser.post("/api/users/refresh")).json()["current_user"]["handle"] == (
        "kind_heron"
    )
    events = await rows.fetch(
        "select type, version, data ->> 'handle' as handle from events.outbox"
        " where subject = $1 order by id offset 1",
        user_id,
    )
    assert [tuple(event) for event in events] == [("user.updated", 2, "kind_heron")]


async def test_the_tickets_of_a_seller_have_the_changed_handle(
    browser: httpx.AsyncClient, rows: Connection
) -> None:
    user_id = await signed_up(browser)
    assert await shown(rows, user_id) == await handle_of(browser)
    await change(browser, "after-dark")
    assert await shown(rows, user_id) == "after-dark"


@pytest.mark.parametrize(
    "handle",
    [
        "ab",
        "x" * 25,
        "-abc",
        "abc.",
        "a..b",
        "a._b",
        "a b c",
        "p\u0430ul",
        "p\u200baul",
        "a/b",
        "",
        "\u212aelvin",
    ],
)
async def test_a_handle_of_another_form_is_a_field_error(
    handle: str, browser: httpx.AsyncClient, rows: Connection
) -> None:
    await signed_up(browser)
    reply = await change(browser, handle)
    assert code(reply) == (422, "invalid_input")
    assert [error["field"] for error in reply.json()["errors"]] == ["handle"]
    with pytest.raises(asyncpg.CheckViolationError):
        await rows.execute("insert into auth.handles (handle) values ($1)", handle)


@pytest.mark.parametrize("handle", ["admin", "Gittix", "sup.port", "adm1n", "r00t"])
async def test_a_word_of_the_shop_is_taken(handle: str, browser: httpx.AsyncClient) -> None:
    await signed_up(browser)
    assert code(await change(browser, handle)) == (409, "handle_taken")


@pytest.mark.parametrize("lookalike", ["paul-hill", "pau1_hi11", "PAUL.HILL", "paulhill"])
async def test_a_handle_that_looks_like_anothers_is_taken(
    lookalike: str, browse: Browse, rows: Connection
) -> None:
    owner, other = browse(), browse()
    await signed_up(owner)
    await signed_up(other)
    await release_all(rows, "paul-hill")
    assert (await change(owner, "paul-hill")).status_code == 200
    assert code(await change(other, lookalike)) == (409, "handle_taken")
    # The owner may write its own handle in another way.
    assert (await change(owner, lookalike)).status_code == 200


async def test_a_former_handle_stays_reserved_for_90_days(browse: Browse, rows: Connection) -> None:
    former, stranger = browse(), browse()
    await signed_up(former)
    await signed_up(stranger)
    assert (await change(former, "first-row")).status_code == 200
    assert (await change(former, "second-row")).status_code == 200
    for days, expected in ((0, 409), (89, 409), (91, 200)):
        await rows.execute(
            "update auth.handles set released_at = now() - make_interval(days => $1)"
            " where handle = 'first-row'",
            days,
        )
        assert (await change(stranger, "first-row")).status_code == expected
    assert code(await change(former, "first-row")) == (409, "handle_taken")


async def test_an_account_takes_its_former_handle_back(browser: httpx.AsyncClient) -> None:
    await signed_up(browser)
    first = await handle_of(browser)
    await change(browser, "night-owl-77")
    assert (await change(browser, first)).status_code == 200
    assert await handle_of(browser) == first


async def test_an_account_reserves_at_most_five_former_handles(
    browser: httpx.AsyncClient,
) -> None:
    await signed_up(browser)
    for number in range(5):
        assert (await change(browser, f"hoarder-{number}x")).status_code == 200
    assert code(await change(browser, "hoarder-5x")) == (409, "too_many_handles")
    assert (await change(browser, "hoarder-0x")).status_code == 200


async def test_of_parallel_claims_of_a_handle_one_wins(browse: Browse, rows: Connection) -> None:
    changing = [browse() for _ in range(4)]
    for browser in changing:
        await signed_up(browser)
    replies = await asyncio.gather(
        *(change(browser, "the-only-one") for browser in changing),
        *(
            browse().post(
                "/api/users/signup",
                json={"email": new_email(), "password": PASSWORD, "handle": "theonlyone"},
            )
            for _ in range(4)
        ),
    )
    assert sorted(reply.status_code // 100 for reply in replies) == [2, *[4] * 7]
    assert {reply.json()["code"] for reply in replies if reply.status_code == 409} == {
        "handle_taken"
    }
    assert (
        await rows.fetchval(
            "select count(*) from auth.users where handle in ('the-only-one', 'theonlyone')"
        )
        == 1
    )


async def test_two_accounts_that_swap_handles_at_once_do_not_deadlock(
    browse: Browse,
) -> None:
    one, other = browse(), browse()
    await signed_up(one)
    await signed_up(other)
    mine, theirs = await handle_of(one), await handle_of(other)
    replies = await asyncio.gather(change(one, theirs), change(other, mine))
    assert [code(reply) for reply in replies] == [(409, "handle_taken")] * 2


async def test_without_the_registry_a_former_handle_would_be_free(
    browse: Browse, rows: Connection
) -> None:
    """The negative control: the same change succeeds once the row of the registry is gone."""
    former, stranger = browse(), browse()
    await signed_up(former)
    await signed_up(stranger)
    await change(former, "kept-by-its-row")
    await change(former, "another-one")
    assert code(await change(stranger, "kept-by-its-row")) == (409, "handle_taken")
    await rows.execute("delete from auth.handles where handle = 'kept-by-its-row'")
    assert (await change(stranger, "kept-by-its-row")).status_code == 200


async def test_changes_are_limited_before_they_are_tried(browser: httpx.AsyncClient) -> None:
    await signed_up(browser)
    replies = [await change(browser, "admin") for _ in range(CHANGE_HANDLE.burst + 1)]
    assert {code(reply) for reply in replies[:-1]} == {(409, "handle_taken")}
    assert code(replies[-1]) == (429, "too_many_attempts")
    assert int(replies[-1].headers["Retry-After"]) > 0


async def test_a_change_needs_a_session_and_an_account(
    browser: httpx.AsyncClient, rows: Connection
) -> None:
    assert code(await change(browser, "nobody-here")) == (401, "unauthorized")
    user_id = await signed_up(browser)
    handle = await handle_of(browser)
    await rows.execute("alter table auth.sessions disable trigger record_deletion")
    await rows.execute("delete from auth.users where id = $1", user_id)
    await rows.execute("alter table auth.sessions enable trigger record_deletion")
    assert code(await change(browser, "nobody-here")) == (401, "account_gone")
    assert (await browser.get(CURRENT_USER)).json() == {"current_user": None}
    with pytest.raises(asyncpg.UniqueViolationError):
        await rows.execute("insert into auth.handles (handle) values ($1)", handle)


async def shown(rows: Connection, user_id: UUID) -> str:
    """The handle that the user's tickets show."""
    handle: str = await rows.fetchval("select tickets.handle_of($1)", user_id)
    return handle


async def release_all(rows: Connection, handle: str) -> None:
    """Free the handle of an earlier test."""
    await rows.execute(
        "update auth.handles set released_at = 'epoch', handle = $1 where skeleton ="
        " translate($1, '01i._-', 'oll')",
        handle,
    )
