"""Refresh tokens: rotation, stored digests, reuse after a lost reply, and detected theft."""

import asyncio
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

import httpx

from backend.auth import service
from backend.kernel.database import Connection
from tests.auth.conftest import Browse, signed_in_user, signed_up
from tests.replies import code

REFRESH = "gittix_refresh"


async def refreshed(client: httpx.AsyncClient, token: str | None = None) -> httpx.Response:
    """Refresh with this token, or with the browser's own."""
    if token is not None:
        client.cookies.clear()
        client.cookies.set(REFRESH, token, domain="127.0.0.1", path="/api/users")
    return await client.post("/api/users/refresh")


async def age(rows: Connection, token: str, by: timedelta) -> None:
    """Move the use of the token back by this time."""
    done = await rows.execute(
        "update auth.refresh_tokens set used_at = used_at - $2::interval"
        " where hash = $1 and used_at is not null",
        sha256(token.encode()).digest(),
        by,
    )
    assert done == "UPDATE 1"


async def session_is_live(rows: Connection, user_id: UUID) -> bool:
    live: bool = await rows.fetchval(
        "select bool_and(revoked_at is null) from auth.sessions where user_id = $1", user_id
    )
    return live


async def test_refresh_returns_new_credentials(browser: httpx.AsyncClient) -> None:
    user_id = await signed_up(browser)
    token = browser.cookies[REFRESH]
    reply = await refreshed(browser)
    assert reply.status_code == 200
    assert reply.json()["current_user"]["id"] == str(user_id)
    assert browser.cookies[REFRESH] != token
    assert await signed_in_user(browser) == str(user_id)


async def test_refresh_needs_no_access_token(browser: httpx.AsyncClient) -> None:
    user_id = await signed_up(browser)
    assert (await refreshed(browser, browser.cookies[REFRESH])).status_code == 200
    assert await signed_in_user(browser) == str(user_id)


async def test_only_a_digest_is_stored(browser: httpx.AsyncClient, rows: Connection) -> None:
    user_id = await signed_up(browser)
    token = browser.cookies[REFRESH]
    kept = await rows.fetch(
        "select t.* from auth.refresh_tokens t join auth.sessions s on s.id = t.session_id"
        " where s.user_id = $1",
        user_id,
    )
    assert [row["hash"] for row in kept] == [sha256(token.encode()).digest()]
    assert token not in str(kept)


async def test_a_used_token_works_again_for_20_seconds_after_a_lost_reply(
    browser: httpx.AsyncClient, rows: Connection
) -> None:
    user_id = await signed_up(browser)
    token = browser.cookies[REFRESH]
    first = (await refreshed(browser, token)).cookies[REFRESH]
    await age(rows, token, timedelta(seconds=15))
    second = await refreshed(browser, token)
    assert second.status_code == 200
    assert second.cookies[REFRESH] not in {token, first}
    assert (await refreshed(browser, first)).status_code == 200
    assert await session_is_live(rows, user_id)


async def test_later_reuse_ends_the_session_for_all_its_holders(
    browse: Browse, rows: Connection
) -> None:
    owner, thief = browse(), browse()
    user_id = await signed_up(owner)
    stolen = owner.cookies[REFRESH]
    await refreshed(owner)
    await age(rows, stolen, timedelta(seconds=21))
    reply = await refreshed(thief, stolen)
    assert code(reply) == (401, "refresh_reused")
    assert not thief.cookies
    assert not await session_is_live(rows, user_id)
    assert code(await refreshed(owner)) == (401, "session_ended")


async def test_reuse_closes_the_users_sockets(
    browser: httpx.AsyncClient, rows: Connection, closed_sockets: list[UUID]
) -> None:
    user_id = await signed_up(browser)
    stolen = browser.cookies[REFRESH]
    await refreshed(browser)
    await age(rows, stolen, timedelta(minutes=1))
    await refreshed(browser, stolen)
    assert closed_sockets.count(user_id) == 1


async def test_a_token_stolen_within_the_reuse_interval_is_detected_at_the_next_rotation(
    browse: Browse, rows: Connection
) -> None:
    owner, thief = browse(), browse()
    user_id = await signed_up(owner)
    stolen = owner.cookies[REFRESH]
    await refreshed(owner)
    assert (await refreshed(thief, stolen)).status_code == 200
    won = thief.cookies[REFRESH]
    await refreshed(owner)
    await age(rows, won, timedelta(seconds=21))
    assert code(await refreshed(thief, won)) == (401, "refresh_reused")
    assert not await session_is_live(rows, user_id)


async def test_other_sessions_of_the_user_outlive_a_reuse(browse: Browse, rows: Connection) -> None:
    from tests.auth.conftest import PASSWORD, new_email

    email = new_email()
    one, other = browse(), browse()
    await signed_up(one, email)
    await other.post("/api/users/signin", json={"email": email, "password": PASSWORD})
    stolen = one.cookies[REFRESH]
    await refreshed(one)
    await age(rows, stolen, timedelta(minutes=1))
    await refreshed(one, stolen)
    assert (await refreshed(other)).status_code == 200


async def test_parallel_refreshes_of_one_token_all_succeed_and_rotate_once(
    browse: Browse, rows: Connection
) -> None:
    browser = browse()
    user_id = await signed_up(browser)
    token = browser.cookies[REFRESH]
    replies = await asyncio.gather(*(refreshed(browse(), token) for _ in range(8)))
    assert [reply.status_code for reply in replies] == [200] * 8
    assert len({reply.cookies[REFRESH] for reply in replies}) == 8
    used = await rows.fetch(
        "select hash from auth.refresh_tokens t join auth.sessions s on s.id = t.session_id "
        "where s.user_id = $1 and used_at is not null",
        user_id,
    )
    assert [row["hash"] for row in used] == [sha256(token.encode()).digest()]
    assert await session_is_live(rows, user_id)


async def test_a_refresh_waits_for_a_concurrent_sign_out_and_is_refused(
    browser: httpx.AsyncClient, rows: Connection
) -> None:
    user_id = await signed_up(browser)
    async with rows.transaction():
        await rows.execute(
            "update auth.sessions set revoked_at = now() where user_id = $1", user_id
        )
        waiting = asyncio.create_task(refreshed(browser))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    assert code(await waiting) == (401, "session_ended")


async def test_parallel_reuses_end_the_session_once(browse: Browse, rows: Connection) -> None:
    browser = browse()
    user_id = await signed_up(browser)
    token = browser.cookies[REFRESH]
    await refreshed(browser)
    await age(rows, token, timedelta(minutes=1))
    replies = await asyncio.gather(*(refreshed(browse(), token) for _ in range(4)))
    assert sorted(code(reply)[1] for reply in replies) == ["refresh_reused", *["session_ended"] * 3]
    assert not await session_is_live(rows, user_id)


async def test_an_expired_token_is_refused(browser: httpx.AsyncClient, rows: Connection) -> None:
    await signed_up(browser)
    await rows.execute(
        "update auth.refresh_tokens set expires_at = now() where hash = $1",
        sha256(browser.cookies[REFRESH].encode()).digest(),
    )
    assert code(await refreshed(browser)) == (401, "session_ended")
    assert not browser.cookies


async def test_a_malformed_token_is_refused_and_its_cookie_cleared(
    browser: httpx.AsyncClient,
) -> None:
    assert code(await refreshed(browser, "nonsense")) == (401, "session_ended")
    assert not browser.cookies


async def test_no_token_at_all_is_refused(browser: httpx.AsyncClient) -> None:
    assert code(await refreshed(browser)) == (401, "session_ended")


async def test_purge_deletes_only_expired_tokens_and_sessions(
    browse: Browse, rows: Connection
) -> None:
    live, over = browse(), browse()
    await signed_up(live)
    gone = await signed_up(over)
    old = timedelta(days=31)
    async with rows.transaction():
        await rows.execute(
            "update auth.refresh_tokens set expires_at = now() - interval '1 day' where hash = $1",
            sha256(over.cookies[REFRESH].encode()).digest(),
        )
        await rows.execute(
            "update auth.sessions set last_used_at = now() - $2::interval where user_id = $1",
            gone,
            old,
        )
        more = await service.purge(rows, timedelta(days=30))
    assert more is False
    assert await rows.fetchval("select count(*) from auth.sessions where user_id = $1", gone) == 0
    assert (await refreshed(live)).status_code == 200
