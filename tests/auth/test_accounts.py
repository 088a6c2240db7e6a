"""Sign up, in and out, and the current user."""

import asyncio
from uuid import UUID

import httpx
import pytest
from argon2 import PasswordHasher
from structlog.testing import CapturingLogger

from backend.auth import routes, service
from backend.kernel.database import Connection
from backend.kernel.settings import Settings
from tests.auth.conftest import (
    PASSWORD,
    Browse,
    Serve,
    new_email,
    signed_in_user,
    signed_up,
    visitor,
)
from tests.replies import code


async def test_sign_up_answers_with_the_user_and_signs_in(browser: httpx.AsyncClient) -> None:
    email = new_email()
    reply = await browser.post("/api/users/signup", json={"email": email, "password": PASSWORD})
    assert reply.status_code == 201
    user = reply.json()["current_user"]
    assert user == {
        "id": user["id"],
        "email": email,
        "handle": user["handle"],
        "needs_more_time": False,
    }
    assert (await browser.get("/api/users/currentuser")).json() == {"current_user": user}


async def test_sign_up_sets_two_http_only_cookies(browser: httpx.AsyncClient) -> None:
    reply = await browser.post(
        "/api/users/signup", json={"email": new_email(), "password": PASSWORD}
    )
    session, refresh = sorted(
        reply.headers.get_list("set-cookie"), key=lambda text: "refresh" in text
    )
    assert session.startswith("gittix_session=")
    assert session.endswith("; HttpOnly; Max-Age=300; Path=/; SameSite=lax")
    assert refresh.startswith("gittix_refresh=")
    assert refresh.endswith("; HttpOnly; Max-Age=2592000; Path=/api/users; SameSite=lax")
    assert "password" not in reply.text


async def test_no_body_contains_a_token(browser: httpx.AsyncClient) -> None:
    credentials = {"email": new_email(), "password": PASSWORD}
    for route in ("signup", "signin", "refresh"):
        reply = await browser.post(f"/api/users/{route}", json=credentials)
        assert reply.is_success
        assert len(reply.cookies) == 2
        for token in reply.cookies.values():
            assert token not in reply.text


async def test_cookies_are_secure_behind_https(serve: Serve, settings: Settings) -> None:
    import msgspec

    secure = msgspec.structs.replace(settings, public_origin="https://shop.test")
    with serve(secure) as url:
        async with visitor(url, "198.51.100.1") as client:
            reply = await client.post(
                "/api/users/signup", json={"email": new_email(), "password": PASSWORD}
            )
    assert ["; Secure" in cookie for cookie in reply.headers.get_list("set-cookie")] == [True] * 2


async def test_an_email_is_one_account_in_any_spelling(browse: Browse, rows: Connection) -> None:
    email = new_email()
    await signed_up(browse(), f"  {email.upper()} ")
    assert await rows.fetchval("select count(*) from auth.users where email = $1", email) == 1
    again = await browse().post("/api/users/signup", json={"email": email, "password": PASSWORD})
    assert code(again) == (409, "email_taken")
    assert not again.headers.get_list("set-cookie")
    signed_in = await browse().post(
        "/api/users/signin", json={"email": email.title(), "password": PASSWORD}
    )
    assert signed_in.status_code == 200


@pytest.mark.parametrize(
    ("stored", "shown", "spellings"),
    [
        (
            "xn--mller-kva.de",
            "müller.de",
            ["Müller.de", "MU\u0308LLER.DE", "xn--mller-kva.de", "XN--MLLER-KVA.DE"],
        ),
        ("xn--r8jz45g.jp", "例え.jp", ["例え。jp", "例え\uff0ejp", "例え.jp"]),
        ("xn--fa-hia.de", "faß.de", ["faß.de"]),
    ],
)
async def test_a_domain_in_unicode_and_in_ascii_is_one_account(
    stored: str, shown: str, spellings: list[str], browse: Browse, rows: Connection
) -> None:
    local = f"Ana+{new_email().partition('@')[0]}"
    await signed_up(browse(), f"{local}@{spellings[0]}")
    email = f"{local.lower()}@{stored}"
    assert await rows.fetchval("select count(*) from auth.users where email = $1", email) == 1
    for domain in spellings:
        browser = browse()
        reply = await browser.post(
            "/api/users/signin", json={"email": f"{local}@{domain}", "password": PASSWORD}
        )
        assert reply.json()["current_user"]["email"] == f"{local.lower()}@{shown}"
        current = (await browser.get("/api/users/currentuser")).json()["current_user"]
        assert current == reply.json()["current_user"]


async def test_parallel_sign_ups_of_one_email_make_one_account(
    browse: Browse, rows: Connection
) -> None:
    email = new_email()
    replies = await asyncio.gather(
        *(
            browse().post("/api/users/signup", json={"email": email, "password": PASSWORD})
            for _ in range(6)
        )
    )
    assert sorted(reply.status_code for reply in replies) == [201, *[409] * 5]
    assert await rows.fetchval("select count(*) from auth.users where email = $1", email) == 1


async def test_sign_up_publishes_the_user_without_the_email(
    browser: httpx.AsyncClient, rows: Connection
) -> None:
    request_id = UUID(int=7)
    browser.headers["X-Request-Id"] = str(request_id)
    user_id = await signed_up(browser)
    events = await rows.fetch("select * from events.outbox where subject = $1", user_id)
    assert [(event["type"], event["version"], event["correlation_id"]) for event in events] == [
        ("user.registered", 1, request_id)
    ]
    assert events[0]["data"].keys() == {"id", "handle", "created_at"}


async def test_a_refused_sign_up_publishes_no_event(browse: Browse, rows: Connection) -> None:
    email = new_email()
    await signed_up(browse(), email)
    before = await rows.fetchval("select count(*) from events.outbox")
    await browse().post("/api/users/signup", json={"email": email, "password": PASSWORD})
    assert await rows.fetchval("select count(*) from events.outbox") == before


async def test_the_password_is_kept_as_argon2id(
    browser: httpx.AsyncClient, rows: Connection
) -> None:
    user_id = await signed_up(browser)
    kept = await rows.fetchval("select password_hash from auth.users where id = $1", user_id)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_sign_in_opens_a_session(browse: Browse) -> None:
    email = new_email()
    user_id = await signed_up(browse(), email)
    browser = browse()
    reply = await browser.post("/api/users/signin", json={"email": email, "password": PASSWORD})
    assert reply.status_code == 200
    assert reply.json()["current_user"]["id"] == str(user_id)
    assert await signed_in_user(browser) == str(user_id)


async def test_an_unknown_email_and_a_wrong_password_get_the_same_reply_after_equal_work(
    browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = new_email()
    await signed_up(browse(), email)
    checked = []
    verify = PasswordHasher.verify

    def spied(self: PasswordHasher, hash: str, password: str) -> bool:
        checked.append(hash)
        return verify(self, hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", spied)
    wrong = await browse().post(
        "/api/users/signin", json={"email": email, "password": "not the one"}
    )
    unknown = await browse().post(
        "/api/users/signin", json={"email": new_email(), "password": PASSWORD}
    )
    assert code(wrong) == code(unknown) == (401, "bad_credentials")
    assert wrong.content == unknown.content
    assert len(checked) == 2
    assert checked[0].rsplit("$", 2)[0] == checked[1].rsplit("$", 2)[0]


async def test_sign_ins_and_failures_are_logged_without_email_and_password(
    browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    email, browser = new_email(), browse()
    log = CapturingLogger()
    monkeypatch.setattr(routes, "log", log)
    user_id = str(await signed_up(browser, email))
    await browse().post("/api/users/signin", json={"email": email, "password": "not the one"})
    await browse().post("/api/users/signin", json={"email": new_email(), "password": PASSWORD})
    await browse().post("/api/users/signin", json={"email": email, "password": PASSWORD})
    assert [(call.args[0], call.kwargs["user_id"]) for call in log.calls] == [
        ("signed up", user_id),
        ("sign-in refused", user_id),
        ("sign-in refused", None),
        ("signed in", user_id),
    ]
    assert {call.kwargs["client"] for call in log.calls} == {browser.headers["x-forwarded-for"]}
    assert email not in repr(log.calls)
    assert PASSWORD not in repr(log.calls)


async def test_sign_in_renews_a_hash_of_older_parameters(browse: Browse, rows: Connection) -> None:
    email = new_email()
    user_id = await signed_up(browse(), email)
    older = PasswordHasher(memory_cost=8192, time_cost=1, parallelism=1).hash(PASSWORD)
    await rows.execute("update auth.users set password_hash = $2 where id = $1", user_id, older)
    reply = await browse().post("/api/users/signin", json={"email": email, "password": PASSWORD})
    assert reply.status_code == 200
    kept = await rows.fetchval("select password_hash from auth.users where id = $1", user_id)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    again = await browse().post("/api/users/signin", json={"email": email, "password": PASSWORD})
    assert again.status_code == 200


async def test_a_password_is_normalized(browse: Browse) -> None:
    email = new_email()
    composed, decomposed = "caf\u00e9 au lait", "cafe\u0301 au lait"
    await browse().post("/api/users/signup", json={"email": email, "password": composed})
    reply = await browse().post("/api/users/signin", json={"email": email, "password": decomposed})
    assert reply.status_code == 200


async def test_signing_in_again_ends_the_browsers_former_session(
    browser: httpx.AsyncClient, rows: Connection
) -> None:
    email = new_email()
    user_id = await signed_up(browser, email)
    await browser.post("/api/users/signin", json={"email": email, "password": PASSWORD})
    sessions = await rows.fetch(
        "select revoked_at is null as live from auth.sessions"
        " where user_id = $1 order by created_at",
        user_id,
    )
    assert [session["live"] for session in sessions] == [False, True]


async def test_a_sign_in_above_the_bound_ends_the_session_that_is_unused_for_the_longest_time(
    browse: Browse, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_SESSIONS", 2)
    email = new_email()
    user_id = await signed_up(browse(), email)
    for _ in range(3):
        await browse().post("/api/users/signin", json={"email": email, "password": PASSWORD})
    sessions = await rows.fetch(
        "select revoked_at is null as live from auth.sessions"
        " where user_id = $1 order by created_at",
        user_id,
    )
    assert [session["live"] for session in sessions] == [False, False, True, True]


async def test_current_user_is_null_without_a_session(browser: httpx.AsyncClient) -> None:
    reply = await browser.get("/api/users/currentuser")
    assert (reply.status_code, reply.json()) == (200, {"current_user": None})
    assert reply.headers["cache-control"] == "no-store"


async def test_the_access_token_works_as_bearer(browse: Browse) -> None:
    browser = browse()
    user_id = await signed_up(browser)
    bearer = browse()
    bearer.headers["Authorization"] = f"Bearer {browser.cookies['gittix_session']}"
    assert await signed_in_user(bearer) == str(user_id)


async def test_sign_out_clears_the_cookies_and_ends_the_session(browser: httpx.AsyncClient) -> None:
    await signed_up(browser)
    refresh_token = browser.cookies["gittix_refresh"]
    reply = await browser.post("/api/users/signout")
    assert (reply.status_code, reply.content) == (204, b"")
    assert not browser.cookies
    assert await signed_in_user(browser) is None
    browser.cookies.set("gittix_refresh", refresh_token)
    assert code(await browser.post("/api/users/refresh")) == (401, "session_ended")


async def test_sign_out_by_bearer_ends_the_tokens_session(browse: Browse) -> None:
    browser = browse()
    await signed_up(browser)
    bearer = browse()
    bearer.headers["Authorization"] = f"Bearer {browser.cookies['gittix_session']}"
    assert (await bearer.post("/api/users/signout")).status_code == 204
    assert code(await browser.post("/api/users/refresh")) == (401, "session_ended")


async def test_sign_out_succeeds_without_a_session(browser: httpx.AsyncClient) -> None:
    assert (await browser.post("/api/users/signout")).status_code == 204


async def test_sign_out_everywhere_ends_every_session_and_the_sockets_at_hosted_pusher(
    browse: Browse, closed_sockets: list[UUID]
) -> None:
    email = new_email()
    one, other, bystander = browse(), browse(), browse()
    user_id = await signed_up(one, email)
    await other.post("/api/users/signin", json={"email": email, "password": PASSWORD})
    await signed_up(bystander)
    assert (await one.post("/api/users/signout?everywhere=true")).status_code == 204
    assert code(await other.post("/api/users/refresh")) == (401, "session_ended")
    assert (await bystander.post("/api/users/refresh")).status_code == 200
    assert closed_sockets.count(user_id) == 1


async def test_concurrent_sign_outs_everywhere_all_succeed(browse: Browse) -> None:
    email = new_email()
    browsers = [browse() for _ in range(5)]
    await signed_up(browsers[0], email)
    for browser in browsers[1:]:
        await browser.post("/api/users/signin", json={"email": email, "password": PASSWORD})
    replies = await asyncio.gather(
        *(browser.post("/api/users/signout", params={"everywhere": "true"}) for browser in browsers)
    )
    assert {reply.status_code for reply in replies} == {204}


async def test_sign_out_everywhere_needs_a_session(browser: httpx.AsyncClient) -> None:
    assert code(await browser.post("/api/users/signout?everywhere=true")) == (401, "unauthorized")


async def test_the_service_reaches_only_its_own_schema(
    settings: Settings, rows: Connection
) -> None:
    import asyncpg

    own = await asyncpg.connect(settings.role_database_url("auth"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await own.execute("select * from events.outbox")
    finally:
        await own.close()


async def test_readiness_checks_both_stores(browser: httpx.AsyncClient) -> None:
    reply = await browser.get("/readyz")
    assert reply.json() == {
        "status": "ready",
        "checks": {"sessions": "ok", "auth.database": "ok", "auth.redis": "ok"},
    }


async def test_the_document_has_every_route(browser: httpx.AsyncClient) -> None:
    document = (await browser.get("/api/openapi.json")).json()
    routes = {"signup", "signin", "signout", "refresh", "currentuser"}
    assert document["paths"].keys() >= {f"/api/users/{name}" for name in routes}
