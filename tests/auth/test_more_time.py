"""The setting "I need more time", which lets an account extend its holds."""

from uuid import UUID

import httpx
import pytest

from backend.auth.limits import CHANGE_HANDLE
from backend.kernel.database import Connection
from tests.auth.conftest import PASSWORD, Browse, new_email, signed_up
from tests.auth.test_handles import CURRENT_USER, handle_of
from tests.replies import code


async def change(browser: httpx.AsyncClient, **fields: object) -> httpx.Response:
    return await browser.put(CURRENT_USER, json=fields)


async def needs_more_time(rows: Connection, user_id: UUID) -> bool:
    needs: bool = await rows.fetchval("select auth.needs_more_time($1)", user_id)
    return needs


async def test_the_setting_is_off_until_the_user_switches_it_on(
    browse: Browse, rows: Connection
) -> None:
    browser, other = browse(), browse()
    email = new_email()
    user_id, other_id = await signed_up(browser, email), await signed_up(other)
    assert not await needs_more_time(rows, user_id)
    for needs in (True, True, False):
        reply = await change(browser, needs_more_time=needs)
        assert (reply.status_code, reply.json()["current_user"]["needs_more_time"]) == (200, needs)
        assert await needs_more_time(rows, user_id) is needs
    assert not await needs_more_time(rows, other_id)
    await change(browser, needs_more_time=True)
    # Each reply with the user has it.
    for path in ("refresh", "signin"):
        body = {"email": email, "password": PASSWORD}
        reply = await browser.post(f"/api/users/{path}", json=body)
        assert reply.json()["current_user"]["needs_more_time"] is True
    assert (await browser.get(CURRENT_USER)).json()["current_user"]["needs_more_time"] is True


async def test_both_fields_change_in_one_request_or_neither(
    browse: Browse, rows: Connection
) -> None:
    browser, other = browse(), browse()
    user_id = await signed_up(browser)
    await signed_up(other)
    await change(other, handle="slow-and-sure")
    refused = await change(browser, handle="slow-and-sure", needs_more_time=True)
    assert code(refused) == (409, "handle_taken")
    assert not await needs_more_time(rows, user_id)
    both = await change(browser, handle="slow-but-sure", needs_more_time=True)
    assert both.json()["current_user"] | {"id": "", "email": ""} == {
        "id": "",
        "email": "",
        "handle": "slow-but-sure",
        "needs_more_time": True,
    }


@pytest.mark.parametrize("body", [{}, {"handle": None}, {"needs_more_time": None}])
async def test_a_change_of_nothing_is_refused(
    body: dict[str, None], browser: httpx.AsyncClient
) -> None:
    await signed_up(browser)
    assert code(await change(browser, **body)) == (422, "invalid_input")


async def test_the_setting_is_in_no_event_and_no_token(
    browser: httpx.AsyncClient, rows: Connection
) -> None:
    """It may be a fact about the user's health."""
    user_id = await signed_up(browser)
    before = await rows.fetchval("select count(*) from events.outbox")
    token = browser.cookies["gittix_session"]
    reply = await change(browser, needs_more_time=True)
    assert not reply.cookies
    assert browser.cookies["gittix_session"] == token
    assert await rows.fetchval("select count(*) from events.outbox") == before
    found = "select count(*) from events.outbox where subject = $1 and data::text like '%time%'"
    assert await rows.fetchval(found, user_id) == 0


async def test_the_setting_is_not_counted_as_a_change_of_the_handle(
    browser: httpx.AsyncClient,
) -> None:
    await signed_up(browser)
    handle = await handle_of(browser)
    for number in range(CHANGE_HANDLE.burst + 1):
        assert (await change(browser, needs_more_time=number % 2 == 0)).status_code == 200
    assert (await change(browser, handle=handle)).status_code == 200


async def test_a_deleted_account_changes_nothing(
    browser: httpx.AsyncClient, rows: Connection
) -> None:
    user_id = await signed_up(browser)
    await rows.execute("update auth.sessions set revoked_at = null where user_id = $1", user_id)
    await rows.execute("delete from auth.users where id = $1", user_id)
    assert (await change(browser, needs_more_time=True)).status_code == 401
