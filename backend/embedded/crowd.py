"""Simulated users for the demo: they browse, hold, pay, cancel and sell, every few seconds.

They use the HTTP API with accounts of their own, so that a visitor sees holds, countdowns, sales
and new listings.
"""

import asyncio
import json
import os
import random
import secrets
from pathlib import Path
from typing import Any

import httpx
import structlog

from backend.embedded.demo import SHOWS

log = structlog.get_logger()

NAMES = ("encore", "doors_at_eight", "second_row", "lastbus", "matinee", "greenroom")
PAUSE_SECONDS = (8.0, 40.0)
THINK_SECONDS = (4.0, 25.0)
TITLES = frozenset(show.title for show in SHOWS)
# Below this number of free tickets in a show, a member lists another one.
MIN_FREE_TICKETS = 6

Json = dict[str, Any]


class Crowd:
    """The members of the crowd; the file `accounts` keeps their sign-ins for the next start."""

    def __init__(self, api_url: str, accounts: Path) -> None:
        self._api_url = api_url
        self._accounts = accounts

    async def run(self) -> None:
        async with asyncio.TaskGroup() as members:
            for email, name, password in self._read_accounts():
                members.create_task(_Member(self._api_url, email, name, password).run())

    def _read_accounts(self) -> list[tuple[str, str, str]]:
        if not self._accounts.exists():
            people = [
                (f"{name}@crowd.gittix.example", name, secrets.token_urlsafe(16)) for name in NAMES
            ]
            with os.fdopen(
                os.open(self._accounts, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w"
            ) as file:
                json.dump(people, file)
        return [
            (email, name, password)
            for email, name, password in json.loads(self._accounts.read_text())
        ]


class _Member:
    def __init__(self, api_url: str, email: str, name: str, password: str) -> None:
        self._http = httpx.AsyncClient(base_url=api_url, timeout=15)
        self._credentials = {"email": email, "password": password}
        self._name = name

    async def run(self) -> None:
        async with self._http:
            await asyncio.sleep(random.uniform(0, PAUSE_SECONDS[0]))  # noqa: S311
            while True:
                try:
                    await self._act()
                except (httpx.HTTPError, KeyError, ValueError) as error:
                    log.info("demo user failed", name=self._name, error=repr(error))
                await asyncio.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311

    async def _act(self) -> None:
        await self._sign_in()
        # Only the demo's own shows: the visitors' listings stay as they are.
        shows = [
            show
            for show in (await self._get("/api/shows", limit=50))["items"]
            if show["title"] in TITLES
        ]
        if not shows:
            return
        show = random.choice(shows)  # noqa: S311
        free = (await self._get("/api/tickets", show_id=show["id"], status="available", limit=50))[
            "items"
        ]
        if len(free) < MIN_FREE_TICKETS:
            await self._offer(show)
        if free:
            await self._buy(free)

    async def _buy(self, free: list[Json]) -> None:
        wanted = random.sample(free, min(len(free), random.choice((1, 1, 2))))  # noqa: S311
        reply = await self._http.post(
            "/api/orders", json={"ticket_ids": [ticket["id"] for ticket in wanted]}
        )
        if reply.status_code != 201:
            return
        order_id = reply.json()["id"]
        await asyncio.sleep(random.uniform(*THINK_SECONDS))  # noqa: S311
        choice = random.random()  # noqa: S311
        if choice < 0.15:
            await self._http.delete(f"/api/orders/{order_id}")
        elif choice < 0.55:
            if choice < 0.25:
                await self._pay(order_id, "pm_card_chargeDeclined")
                await asyncio.sleep(3)
            await self._pay(order_id, "pm_card_visa")
        # Else the hold expires.

    async def _pay(self, order_id: str, method: str) -> None:
        await self._http.post(
            "/api/payments", json={"order_id": order_id, "payment_method": method}
        )

    async def _offer(self, show: Json) -> None:
        listed = (await self._get("/api/tickets", show_id=show["id"], limit=1))["items"]
        if listed:
            fields = {
                name: listed[0][name] for name in ("currency", "price", "face_value", "section")
            }
            await self._http.post("/api/tickets", json={"show_id": show["id"], **fields})

    async def _sign_in(self) -> None:
        """Use the refresh cookie, else the password, else sign up."""
        if "gittix_refresh" in self._http.cookies:
            if (await self._http.post("/api/users/refresh")).status_code == 200:
                return
            self._http.cookies.clear()
        if (await self._http.post("/api/users/signin", json=self._credentials)).status_code == 401:
            await self._http.post("/api/users/signup", json=self._credentials)

    async def _get(self, path: str, **query: Any) -> Json:
        reply = await self._http.get(path, params=query)
        reply.raise_for_status()
        body: Json = reply.json()
        return body
