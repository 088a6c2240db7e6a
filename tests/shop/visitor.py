"""A visitor's page in Chromium: its actions, its requests, and the frames of its sockets."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
from playwright.async_api import Browser, BrowserContext, Locator, Page, WebSocket

from tests.system import until

Json = dict[str, Any]
PASSWORD = "correct horse battery"

# Sets the browser's date off by milliseconds; performance.now() is not affected.
WRONG_DATE = """
    const Real = Date;
    const wrong = %d;
    class Wrong extends Real {
      constructor(...given) { super(...(given.length ? given : [Real.now() + wrong])); }
      static now() { return Real.now() + wrong; }
    }
    globalThis.Date = Wrong;
"""
# As where there are no service workers: without TLS.
NO_WORKER = "delete Navigator.prototype.serviceWorker"
CONTROLLED = """async () => {
  await navigator.serviceWorker.ready;
  if (navigator.serviceWorker.controller) return;
  await new Promise(resolve => navigator.serviceWorker.addEventListener(
    'controllerchange', resolve, {once: true}));
}"""
# The page then reads the user by the session's cookie.
MEMBER = "localStorage.setItem('gittix:member', '\"1\"')"


@dataclass
class Socket:
    """One WebSocket of a page and the frames on it."""

    url: str
    sent: list[str] = field(default_factory=list)
    received: list[str] = field(default_factory=list)

    def events(self) -> list[str]:
        return [json.loads(frame)["event"] for frame in self.received]

    def channels(self) -> list[str]:
        sent = [json.loads(frame) for frame in self.sent]
        return [frame["data"]["channel"] for frame in sent if frame["event"] == "pusher:subscribe"]


class Visitor:
    """A page in a browser context of its own."""

    def __init__(self, url: str, context: BrowserContext, page: Page) -> None:
        self.url = url
        self.context = context
        self.page = page
        self.sockets: list[Socket] = []
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("websocket", self._opened)
        page.on(
            "console",
            lambda entry: self.errors.append(entry.text) if entry.type == "error" else None,
        )
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    async def sign_up(self, name: str, domain: str = "example.com") -> str:
        """Create an account over the API, with this browser's cookies. Returns the email."""
        email = f"{name}-{uuid4().hex[:8]}@{domain}"
        answer = await self.context.request.post(
            f"{self.url}/api/users/signup",
            data={"email": email, "password": PASSWORD},
        )
        assert answer.status == 201, await answer.text()
        await self.context.add_init_script(MEMBER)
        return email

    async def sign_in(self, email: str, password: str = PASSWORD) -> None:
        """Submit the form of the open page, and wait until it leads on."""
        await self.page.get_by_label("Email").fill(email)
        await self.page.get_by_label("Password").fill(password)
        await self.page.locator("form").get_by_role("button", name="Sign in").click()
        await self.page.wait_for_url(lambda url: urlsplit(url).path != "/signin")

    async def sign_in_as(self, cookies: httpx.Cookies) -> None:
        """Take over the session of another client."""
        session = [
            {"name": cookie.name, "value": cookie.value or "", "url": self.url}
            for cookie in cookies.jar
            if cookie.path == "/"
        ]
        await self.context.add_cookies(session)  # type: ignore[arg-type]
        await self.context.add_init_script(MEMBER)

    async def sign_in_like(self, other: "Visitor") -> None:
        """Sign in the same user on another device."""
        await self.context.add_cookies(await other.context.cookies())  # type: ignore[arg-type]
        await self.context.add_init_script(MEMBER)

    async def until_kept(self) -> None:
        """Wait until the service worker keeps the pages and controls this one."""
        await self.page.evaluate(CONTROLLED)

    async def tab(self) -> "Visitor":
        """Open another tab of the same browser."""
        return Visitor(self.url, self.context, await self.context.new_page())

    async def open(self, path: str) -> None:
        await self.page.goto(self.url + path)

    async def open_show(self, show_id: str) -> None:
        """Open it, and wait until it is loaded and live."""
        await self.open(f"/shows/{show_id}")
        await self.page.locator("[data-ticket], [data-alike], [data-seat]").first.wait_for()
        await self.until_state("live")

    async def until_state(self, state: str, *, seconds: float = 20) -> None:
        await self.page.locator(f".pill[data-state={state}]").wait_for(timeout=seconds * 1000)

    async def until_true(self, expression: str, *, seconds: float = 15) -> None:
        """Wait until a JavaScript expression is true. Playwright's `wait_for_function` polls with
        `eval`, which the page's content security policy refuses after the first time.
        """
        await until(lambda: self.page.evaluate(expression), seconds=seconds)

    def row(self, ticket_id: str) -> Locator:
        return self.page.locator(f"[data-ticket='{ticket_id}']")

    async def until(self, ticket_id: str, availability: str, *, seconds: float = 15) -> None:
        await self.page.locator(f"[data-ticket='{ticket_id}'][data-is={availability}]").wait_for(
            timeout=seconds * 1000
        )

    async def pick(self, *ticket_ids: str) -> None:
        for ticket_id in ticket_ids:
            await self.row(ticket_id).get_by_role("checkbox").check()

    async def hold(self) -> None:
        await self.page.get_by_role("button", name=re.compile("^Hold ")).click()

    async def place(self, *ticket_ids: str) -> Json:
        """Place an order over the API, with this browser's session."""
        answer = await self.context.request.post(
            f"{self.url}/api/orders", data={"ticket_ids": ticket_ids}
        )
        assert answer.status == 201, await answer.text()
        order: Json = await answer.json()
        return order

    async def order(self, order: Json) -> Json:
        """The order's present state, from the API."""
        found: Json = await (
            await self.context.request.get(f"{self.url}/api/orders/{order['id']}")
        ).json()
        return found

    async def open_checkout(self, order: Json) -> None:
        """Open it, and wait until it is loaded and live."""
        await self.open(f"/checkout/{order['id']}")
        await self.page.locator("[data-stage]").wait_for()
        await self.until_state("live")

    async def until_stage(self, stage: str, *, seconds: float = 15) -> None:
        await self.page.locator(f"[data-stage={stage}]").wait_for(timeout=seconds * 1000)

    async def pay(self, digits: str = "4242") -> None:
        """Pay with the test card that ends with these digits."""
        await self.page.get_by_label(re.compile(digits)).check()
        await self.page.get_by_role("button", name=re.compile("^Pay ")).click()

    async def answer_bank(self, answer: str) -> None:
        await self.page.frame_locator("iframe").get_by_role("button", name=answer).click()

    async def seconds(self) -> int:
        """The seconds of the checkout's countdown."""
        return int(await self.page.locator("[data-level]").get_attribute("data-seconds") or "-99")

    async def tickets(self) -> dict[str, tuple[str, str]]:
        """The availability and the price that the page shows for each ticket."""
        rows: list[list[str]] = await self.page.locator("[data-ticket]").evaluate_all(
            """rows => rows.map(row => [
                row.dataset.ticket,
                row.dataset.is,
                row.querySelector('.ticket-price').textContent,
            ])"""
        )
        return {ticket_id: (availability, price) for ticket_id, availability, price in rows}

    def _opened(self, opened: WebSocket) -> None:
        socket = Socket(opened.url)
        self.sockets.append(socket)
        opened.on("framesent", lambda frame: socket.sent.append(_text(frame)))
        opened.on("framereceived", lambda frame: socket.received.append(_text(frame)))


@asynccontextmanager
async def visiting(
    browser: Browser,
    url: str,
    *,
    width: int = 1280,
    dark: bool = False,
    wrong_by_ms: int = 0,
    reduced_motion: bool = False,
    service_worker: bool = True,
) -> AsyncIterator[Visitor]:
    context = await browser.new_context(
        viewport={"width": width, "height": 880 if width > 760 else 780},
        is_mobile=width <= 760,
        has_touch=width <= 760,
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce" if reduced_motion else "no-preference",
        service_workers="allow" if service_worker else "block",
        locale="en-GB",
        timezone_id="Europe/Amsterdam",
    )
    try:
        if wrong_by_ms:
            await context.add_init_script(WRONG_DATE % wrong_by_ms)
        yield Visitor(url, context, await context.new_page())
    finally:
        await context.close()


def _text(frame: str | bytes) -> str:
    return frame if isinstance(frame, str) else frame.decode()
