"""Several gateway processes over one Redis, and pages that know a roster as pusher-js does.

A `Page` fails when a message does not fit its roster: a member that was added twice, or removed
without being there.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pusher
from websockets.exceptions import ConnectionClosed

from backend.push.facts import FACTS, read_fact
from tests.push.gateway_process import GatewayProcess, start_process
from tests.push.servers import APP_ID, KEY, SECRET, RawClient, RedisServer, until

LEASE_SECONDS, DEBOUNCE_SECONDS = 1.5, 0.4
SETTINGS = {
    "lease_seconds": LEASE_SECONDS,
    "debounce_seconds": DEBOUNCE_SECONDS,
    "subscription_counts": True,
    "record_facts": True,
    "redis_timeout_seconds": 1.0,
}
# Longer than a lease and all that follows its end.
LEASE_IS_OVER = LEASE_SECONDS + 2
# Longer than the debounce, and a turn of each gateway.
DEBOUNCE_IS_OVER = DEBOUNCE_SECONDS + 0.6


class Nodes:
    def __init__(self, redis: RedisServer, running: list[GatewayProcess]) -> None:
        self.redis = redis
        self.running = running

    def __getitem__(self, at: int) -> GatewayProcess:
        return self.running[at]

    @property
    def last(self) -> GatewayProcess:
        return self.running[-1]

    def replace_last(self) -> None:
        self.running[-1].kill()
        self.running[-1] = start_process(self.redis.url, **SETTINGS)
        self.running[-1].until_listening()

    def facts(self, channel: str) -> list[tuple[str, str | int | None]]:
        """The facts of a channel, without those of counts."""
        with self.redis.client() as client:
            found = [read_fact(entry_id, fields) for entry_id, fields in client.xrange(FACTS)]
        return [
            (fact.name, fact.user_id)
            for fact in found
            if fact.channel == channel and fact.name != "subscription_count"
        ]


class Page:
    """A socket in a presence channel."""

    def __init__(self, client: RawClient, channel: str, user: str) -> None:
        self.client = client
        self.channel = channel
        self.user = user
        self.members: dict[str, Any] = {}
        self.changes: list[tuple[str, str]] = []
        self.faults: list[str] = []
        self._reading: asyncio.Task[None] | None = None

    async def subscribe(self, info: Any = None) -> None:
        signing = pusher.Pusher(APP_ID, KEY, SECRET)
        member = {"user_id": self.user, "user_info": info or {"name": self.user}}
        signed = signing.authenticate(self.channel, self.client.socket_id, member)
        await self.client.send("pusher:subscribe", {"channel": self.channel, **signed})
        reply = await self.client.data("pusher_internal:subscription_succeeded")
        self.members = dict(reply["presence"]["hash"])
        assert reply["presence"]["count"] == len(self.members)
        assert self.user in self.members
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self.client.socket:
                self._receive(json.loads(text))

    def _receive(self, message: dict[str, Any]) -> None:
        event = message["event"].removeprefix("pusher_internal:member_")
        if event not in ("added", "removed"):
            return
        data = json.loads(message["data"])
        user = data["user_id"]
        self.changes.append((event, user))
        if user == self.user or (user in self.members) != (event == "removed"):
            self.faults.append(f"{event} {user} at {self.user}: {sorted(self.members)}")
        if event == "added":
            self.members[user] = data["user_info"]
        else:
            self.members.pop(user, None)

    async def until_members(self, *users: str, seconds: float = 10) -> None:
        try:
            await until(lambda: set(self.members) == set(users), seconds)
        except TimeoutError:
            raise AssertionError(f"{sorted(self.members)} instead of {sorted(users)}") from None
        assert self.faults == []

    def close(self) -> None:
        self.client.socket.transport.abort()


@asynccontextmanager
async def page(
    node: GatewayProcess, channel: str, user: str, info: Any = None
) -> AsyncIterator[Page]:
    async with node.raw() as client:
        opened = Page(client, channel, user)
        await opened.subscribe(info)
        yield opened
        assert opened.faults == []


async def users_at(node: GatewayProcess, channel: str) -> list[str]:
    found = await node.call("users_info", channel)
    return sorted(user["id"] for user in found["users"])


async def until_info(node: GatewayProcess, channel: str, user: str, info: Any) -> None:
    """Wait until the rosters of new members have this info; the push log brings it."""
    async with asyncio.timeout(5):
        while True:
            async with page(node, channel, "reader") as reader:
                if reader.members[user] == info:
                    return


async def until_users(nodes: Nodes, channel: str, *users: str, seconds: float = 10) -> None:
    """Wait until every gateway returns these users."""
    async with asyncio.timeout(seconds):
        for node in nodes.running:
            while await users_at(node, channel) != sorted(users):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
