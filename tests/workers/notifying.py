"""A notifier that publishes to the push log of a test, and the messages there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from backend.events.dead_letters import find_dead_letters, redrive
from backend.events.resources import open_resources
from backend.kernel.supervisor import running
from backend.push import push_log as push
from backend.push.publisher import MessagePublisher, Publisher
from tests import factories
from tests.factories import Json
from tests.system import System, until
from workers.notifier import REDRIVE_STREAM, Notifier


class Published(NamedTuple):
    """A published message. `at` is the time of its entry in the push log, in seconds."""

    at: float
    channel: str
    event: str
    data: Json


@asynccontextmanager
async def notifying(
    system: System, publisher: MessagePublisher | None = None
) -> AsyncIterator[Notifier]:
    async with (
        push.connect(system.settings.redis_url, timeout_seconds=2) as log,
        open_resources(system.settings, "tickets") as tickets,
    ):
        url = system.settings.role_database_url("push")
        notifier = Notifier(url, tickets.pool, tickets.redis, publisher or Publisher(log))
        async with running(("notifier", notifier.run)):
            yield notifier


async def published(system: System) -> list[Published]:
    found = []
    for entry_id, fields in await system.redis().xrange(push.STREAM):
        entry = push.read_entry(entry_id, fields)
        for channel, message, seq in entry.deliveries():
            data = msgspec.json.decode(entry.numbered_data(message, seq))
            found.append(Published(entry.appended_ms / 1000, channel, message.event, data))
    return found


async def messages_of_type(system: System, event: str, *, times: int = 1) -> list[Published]:
    """Wait until at least `times` messages of this event are published, and return them."""

    async def enough() -> list[Published]:
        found = [message for message in await published(system) if message.event == event]
        return found if len(found) >= times else []

    found: list[Published] = await until(enough)
    return found


async def all_published(system: System) -> list[Published]:
    """Wait until no more messages are published, and return all."""
    before: list[Published] = []
    while before != (now := await published(system)) or not now:
        before = now
        await asyncio.sleep(0.7)
    return before


async def totals(system: System) -> list[int]:
    """Return the totals of the published orders, in order."""
    return [
        message.data["order"]["total"]
        for message in await published(system)
        if message.event == "order.created"
    ]


async def position_is_saved(system: System) -> bool:
    """Whether the notifier saved the position of the last published message."""
    publisher = Publisher(system.redis())
    saved = await (await system.connect()).fetchval("select position from push.notifier")
    return bool(saved == (await publisher.state()).position)


async def redrive_by_id(system: System, *dead_letters: str) -> None:
    await redrive(system.redis(), await find_dead_letters(system.redis(), dead_letters))


async def redrive_stream_is_empty(system: System) -> bool:
    return int(await system.redis().xlen(REDRIVE_STREAM)) == 0


async def held(system: System, *, tickets: int = 1) -> Json:
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    listed = [(await factories.ticket(seller, show["id"]))["id"] for _ in range(tickets)]
    return await factories.order(buyer, *listed)
