"""Invalid input and requests of foreign pages return a 4xx problem with a stable code."""

import json
import secrets
from typing import Any

import httpx
import pytest

from tests.auth.conftest import ORIGIN, PASSWORD, Browse, new_email, signed_in_user, signed_up
from tests.replies import code

GOOD = {"email": "ada@example.com", "password": PASSWORD}
JSON = {"Content-Type": "application/json"}

MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "no email": ({"password": PASSWORD}, "email"),
    "no password": ({"email": "ada@example.com"}, "password"),
    "email of another type": (GOOD | {"email": 7}, "email"),
    "email null": (GOOD | {"email": None}, "email"),
    "email a list": (GOOD | {"email": ["ada@example.com"]}, "email"),
    "email empty": (GOOD | {"email": ""}, "email"),
    "email without @": (GOOD | {"email": "ada.example.com"}, "email"),
    "email without a domain": (GOOD | {"email": "ada@"}, "email"),
    "email without a dot": (GOOD | {"email": "ada@localhost"}, "email"),
    "email with two @": (GOOD | {"email": "a@b@example.com"}, "email"),
    "email with a space": (GOOD | {"email": "a da@example.com"}, "email"),
    "email with a line break": (GOOD | {"email": "ada@example.com\nBcc: x@y.z"}, "email"),
    "email with a control character": (GOOD | {"email": "a\u0007@example.com"}, "email"),
    "email not in ASCII": (GOOD | {"email": "\u0430da@example.com"}, "email"),
    "email with the Kelvin sign": (GOOD | {"email": "\u212a@example.com"}, "email"),
    "email with a long local part": (GOOD | {"email": f"{'a' * 65}@example.com"}, "email"),
    "email too long": (GOOD | {"email": f"a@{'b.' * 130}com"}, "email"),
    "email with a malformed ASCII form": (GOOD | {"email": "ada@xn--a.example"}, "email"),
    "email with an emoji domain": (GOOD | {"email": "ada@\U0001f4a9.example"}, "email"),
    "email with an empty label": (GOOD | {"email": "ada@m\u00fcller..de"}, "email"),
    "email with a long label": (GOOD | {"email": "ada@" + "\u00fc" * 63 + ".de"}, "email"),
    "password short": (GOOD | {"password": "seven77"}, "password"),
    "password long": (GOOD | {"password": "x" * 201}, "password"),
    "password of another type": (GOOD | {"password": 12345678}, "password"),
    "handle long": (GOOD | {"handle": "x" * 25}, "handle"),
    "handle of another type": (GOOD | {"handle": {}}, "handle"),
    "handle with a space": (GOOD | {"handle": "ada lovelace"}, "handle"),
}


@pytest.mark.parametrize("case", MISFITS)
async def test_sign_up_names_the_invalid_field(case: str, browser: httpx.AsyncClient) -> None:
    body, field = MISFITS[case]
    reply = await browser.post("/api/users/signup", json=body)
    assert code(reply) == (422, "invalid_input")
    assert [error["field"] for error in reply.json()["errors"]] == [field]


async def test_letters_before_the_at_sign_are_named_in_the_error(
    browser: httpx.AsyncClient,
) -> None:
    body = GOOD | {"email": "j\u00f6rg@m\u00fcller.de"}
    (error,) = (await browser.post("/api/users/signup", json=body)).json()["errors"]
    assert error["message"] == "must have only letters a to z, digits and signs before the @"


MALFORMED: dict[str, tuple[bytes, tuple[int, str]]] = {
    "nothing": (b"", (400, "not_json")),
    "not JSON": (b"email=ada", (400, "not_json")),
    "not UTF-8": (b'{"email": "\xff"}', (400, "not_json")),
    "a lone surrogate": (
        b'{"email": "\\ud800@example.com", "password": "12345678"}',
        (400, "not_json"),
    ),
    "a raw NUL": (b'{"email": "a\x00"}', (400, "not_json")),
    "an escaped NUL": (
        b'{"email": "a@example.com", "password": "1234567\\u0000"}',
        (422, "nul_character"),
    ),
    "cut short": (b'{"email": "a@example.com"', (400, "not_json")),
    "an array": (b"[]", (422, "invalid_input")),
    "null": (b"null", (422, "invalid_input")),
    "a text": (b'"x"', (422, "invalid_input")),
    "an endless number": (b"1" * 10_000, (422, "invalid_input")),
    "too large": (b'{"email": "' + b"x" * 300_000 + b'"}', (413, "body_too_large")),
}


@pytest.mark.parametrize("route", ["signup", "signin"])
@pytest.mark.parametrize("case", MALFORMED)
async def test_a_malformed_body_is_a_problem(
    case: str, route: str, browser: httpx.AsyncClient
) -> None:
    body, expected = MALFORMED[case]
    assert code(await browser.post(f"/api/users/{route}", content=body, headers=JSON)) == expected


async def test_a_body_too_large_without_a_length_is_refused(
    browser: httpx.AsyncClient,
) -> None:
    async def chunks() -> Any:
        for _ in range(40):
            yield b"x" * 10_000

    reply = await browser.post("/api/users/signin", content=chunks(), headers=JSON)
    assert code(reply) == (413, "body_too_large")


async def test_unicode_passwords_are_accepted(browser: httpx.AsyncClient) -> None:
    body = {"email": new_email(), "password": "\U0001f511\u00fc\u4e2d\u6587 pass"}
    assert (await browser.post("/api/users/signup", json=body)).status_code == 201
    assert (await browser.post("/api/users/signin", json=body)).status_code == 200


@pytest.mark.parametrize("password", ["k7#Vq2!z", secrets.token_hex(100)], ids=["8", "200"])
async def test_passwords_of_8_to_200_characters_are_accepted(
    password: str, browser: httpx.AsyncClient
) -> None:
    email = new_email()
    for length in (7, 201):
        body = {"email": email, "password": (password * 30)[:length]}
        reply = await browser.post("/api/users/signup", json=body)
        assert code(reply) == (422, "invalid_input")
    body = {"email": email, "password": password}
    assert (await browser.post("/api/users/signup", json=body)).status_code == 201
    # Every character counts.
    cut = body | {"password": password[:-1]}
    assert code(await browser.post("/api/users/signin", json=cut)) == (401, "bad_credentials")


EASY_TO_GUESS = (
    *("password", "12345678", "        ", "qwertyuiop", "Passw0rd!", "aaaaaaaaaaaa", "a" * 200),
    *("ada.lovelace.1815@example.com", "lovelace1815", "Ada-Lovelace"),
)


@pytest.mark.parametrize("password", EASY_TO_GUESS)
async def test_a_password_that_is_easy_to_guess_is_refused(
    password: str, browser: httpx.AsyncClient
) -> None:
    body = {
        "email": "ada.lovelace.1815@example.com",
        "password": password,
        "handle": "ada-lovelace",
    }
    reply = await browser.post("/api/users/signup", json=body)
    assert code(reply) == (422, "weak_password")
    [error] = reply.json()["errors"]
    assert error["field"] == "password"
    assert error["message"].startswith("is too easy to guess")


async def test_sign_in_accepts_passwords_below_the_minimum_length(
    browser: httpx.AsyncClient,
) -> None:
    reply = await browser.post("/api/users/signin", json={"email": new_email(), "password": "x"})
    assert code(reply) == (401, "bad_credentials")


@pytest.mark.parametrize("everywhere", ["perhaps", "2", "%00"])
async def test_sign_out_reads_its_query_strictly(
    everywhere: str, browser: httpx.AsyncClient
) -> None:
    assert (await browser.post(f"/api/users/signout?everywhere={everywhere}")).status_code == 422


async def test_other_methods_are_refused(browser: httpx.AsyncClient) -> None:
    assert code(await browser.get("/api/users/signin")) == (405, "method_not_allowed")


# Origins.


@pytest.mark.parametrize(
    "origin", ["https://evil.test", "null", f"{ORIGIN}.evil.test", ORIGIN.upper()]
)
@pytest.mark.parametrize("route", ["signout", "refresh", "signup", "signin"])
async def test_a_foreign_page_cannot_write_with_the_session_cookie(
    route: str, origin: str, browser: httpx.AsyncClient
) -> None:
    user_id = await signed_up(browser)
    reply = await browser.post(f"/api/users/{route}", json=GOOD, headers={"Origin": origin})
    assert code(reply) == (403, "origin_refused")
    assert await signed_in_user(browser) == str(user_id)


async def test_a_page_of_the_own_origin_can_write(browser: httpx.AsyncClient) -> None:
    await signed_up(browser)
    reply = await browser.post("/api/users/refresh", headers={"Origin": ORIGIN})
    assert reply.status_code == 200


async def test_a_caller_without_origin_headers_can_write(browser: httpx.AsyncClient) -> None:
    del browser.headers["Origin"]
    await signed_up(browser)
    assert (await browser.post("/api/users/refresh")).status_code == 200


async def test_a_browser_that_hides_the_foreign_origin_is_refused(
    browser: httpx.AsyncClient,
) -> None:
    await signed_up(browser)
    del browser.headers["Origin"]
    reply = await browser.post("/api/users/signout", headers={"Sec-Fetch-Site": "cross-site"})
    assert code(reply) == (403, "origin_refused")


async def test_a_bearer_token_needs_no_origin(browse: Browse) -> None:
    browser, bearer = browse(), browse()
    await signed_up(browser)
    bearer.headers["Authorization"] = f"Bearer {browser.cookies['gittix_session']}"
    bearer.headers["Origin"] = "https://partner.test"
    assert (await bearer.post("/api/users/signout")).status_code == 204


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
@pytest.mark.parametrize("route", ["signup", "signin"])
async def test_a_foreign_form_cannot_sign_its_visitor_in(
    route: str, media_type: str, browser: httpx.AsyncClient
) -> None:
    reply = await browser.post(
        f"/api/users/{route}",
        content=json.dumps(GOOD | {"email": new_email()}),
        headers={"Content-Type": media_type, "Origin": "https://evil.test"},
    )
    assert code(reply) == (400, "not_json")
    assert not browser.cookies
