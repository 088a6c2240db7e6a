"""The session: the same in every tab, refreshed before it expires, and ended everywhere at once."""

from uuid import uuid4

import pytest
from playwright.async_api import expect

from tests.shop.conftest import Visit
from tests.shop.instance import Running
from tests.shop.visitor import Visitor

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]
MINUTE_MS = 60_000


async def test_signing_out_everywhere_reaches_every_tab_and_other_browsers(
    visit: Visit,
) -> None:
    async with visit() as ana, visit() as elsewhere:
        email = await ana.sign_up("ana")
        other_tab = await ana.tab()
        await elsewhere.open("/signin")
        await elsewhere.sign_in(email)
        for visitor in (ana, other_tab):
            await visitor.open("/")
        for visitor in (ana, other_tab, elsewhere):
            await _until_signed_in(visitor)
            await visitor.until_state("live")
        await _leave(ana, "Sign out everywhere")
        await ana.page.locator(".toast").get_by_text("signed out on every device").wait_for()
        for visitor in (other_tab, elsewhere):
            await visitor.page.locator(".toast").get_by_text("signed out elsewhere").wait_for()
        for visitor in (ana, other_tab, elsewhere):
            await _until_signed_out(visitor)
            answer = await visitor.context.request.get(f"{visitor.url}/api/users/currentuser")
            assert (await answer.json())["current_user"] is None
        # The socket was authenticated for the user; the next one is not.
        await elsewhere.until_state("caught-up")
        assert "pusher:signin_success" in elsewhere.sockets[0].events()
        assert elsewhere.sockets[-1].channels() == ["shows"]


async def test_signing_out_here_leaves_other_browsers_signed_in(visit: Visit) -> None:
    async with visit() as ana, visit() as elsewhere:
        email = await ana.sign_up("ana")
        await elsewhere.open("/signin")
        await elsewhere.sign_in(email)
        await ana.open("/")
        await _until_signed_in(ana)
        await _leave(ana, "Sign out")
        await _until_signed_out(ana)
        await elsewhere.page.reload()
        await _until_signed_in(elsewhere)


async def test_signing_in_reaches_other_tabs(visit: Visit) -> None:
    """Chromium submits the domain of an email field in ASCII; pages show it as it was typed."""
    async with visit() as stranger, visit() as ana:
        email = await stranger.sign_up("ana+tag", "müller.example")
        other_tab = await ana.tab()
        await other_tab.open("/")
        await _until_signed_out(other_tab)
        await ana.open("/signin")
        await ana.sign_in(email)
        await _until_signed_in(other_tab)
        await other_tab.page.locator(f'.account [title="{email}"]').wait_for(state="attached")


async def test_a_session_is_refreshed_before_it_expires(visit: Visit, up: Running) -> None:
    async with visit() as stranger, visit() as ana:
        email = await stranger.sign_up("ana")
        await ana.page.clock.install()
        await ana.open("/signin")
        await ana.sign_in(email)
        await _until_signed_in(ana)
        config = await (await ana.context.request.get(f"{up.url}/shop.json")).json()
        assert config["session_seconds"] == 5 * 60
        before = await _refresh_token(ana)
        async with ana.page.expect_response("**/api/users/refresh") as refreshed:
            await ana.page.clock.fast_forward(4 * MINUTE_MS + 1000)
        assert (await refreshed.value).ok
        assert await _refresh_token(ana) != before
        await _until_signed_in(ana)
        # No request was refused meanwhile. The jump of the clock may also end the socket, on which
        # pusher-js then still sends once.
        assert not [error for error in ana.errors if "CLOSING or CLOSED" not in error]


async def test_the_account_menu_closes_on_escape_and_when_it_loses_the_focus(visit: Visit) -> None:
    async with visit() as ana:
        await ana.sign_up("ana")
        await ana.open("/")
        account = ana.page.get_by_text("Account", exact=True)
        menu = ana.page.get_by_role("button", name="Sign out everywhere")
        await account.click()
        await expect(menu).to_be_visible()
        await ana.page.keyboard.press("Escape")
        await expect(menu).to_be_hidden()
        await account.click()
        await ana.page.get_by_label("Search").click()
        await expect(menu).to_be_hidden()


async def test_a_user_changes_the_handle_on_the_account_page(visit: Visit) -> None:
    async with visit() as ana:
        await ana.sign_up("ana")
        await ana.open("/")
        await ana.page.get_by_text("Account", exact=True).click()
        await ana.page.get_by_role("link", name="Your account").click()
        handle = ana.page.get_by_label("Handle", exact=True).and_(ana.page.locator("input"))
        change = ana.page.get_by_role("button", name="Change handle")
        await expect(change).to_be_disabled()
        for refused, message in (("admin", "taken"), ("a b", "3 to 24 characters")):
            await handle.fill(refused)
            await change.click()
            await expect(ana.page.locator(".field .problem").get_by_text(message)).to_be_visible()
            await expect(handle).to_have_attribute("aria-invalid", "true")
            await expect(handle).to_be_focused()
        chosen = f"Stage.Left{uuid4().hex[:6]}"
        await handle.fill(chosen)
        await change.click()
        await ana.page.locator(".toast").get_by_text(f"@{chosen.lower()}").wait_for()
        await expect(handle).to_have_value(chosen.lower())
        await ana.page.get_by_text("Account", exact=True).click()
        await expect(ana.page.locator(".menu")).to_contain_text(f"@{chosen.lower()}")


async def _leave(visitor: Visitor, words: str) -> None:
    await visitor.page.get_by_text("Account", exact=True).click()
    await visitor.page.get_by_role("button", name=words, exact=True).click()


async def _until_signed_in(visitor: Visitor) -> None:
    await visitor.page.get_by_text("Account", exact=True).wait_for()


async def _until_signed_out(visitor: Visitor) -> None:
    await visitor.page.locator("header").get_by_role("link", name="Sign in").wait_for()


async def _refresh_token(visitor: Visitor) -> str:
    """The refresh token; each is accepted once."""
    cookies = await visitor.context.cookies(f"{visitor.url}/api/users/refresh")
    return next(cookie["value"] for cookie in cookies if cookie["name"] == "gittix_refresh")
