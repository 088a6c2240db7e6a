"""Two API processes on one database, one Redis and one Stripe, and clients that start together."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from backend.kernel import database
from backend.kernel.database import Pool
from tests.crash.launcher import SABOTAGE
from tests.crash.nursery import Nursery, Process
from tests.crash.parts import LOST
from tests.embedded.running import clean_environment
from tests.payments.shop import Stripe
from tests.replies import code
from tests.system import PLAIN, STRIPE_KEY, Person, System, free_port, until

Call = Callable[[], Awaitable[httpx.Response]]

# A race that is not lost within so many rounds is none.
ROUNDS = 20


class Arena:
    """Clients take the two processes in turn; each has a connection of its own."""

    def __init__(self, system: System, rows: Pool, stripe: Stripe, urls: Sequence[str]) -> None:
        self.system = system
        self.rows = rows
        self.stripe = stripe
        self._urls = itertools.cycle(urls)

    async def person(self, name: str) -> Person:
        return (await self.sessions(name, 1))[0]

    async def people(self, name: str, count: int) -> list[Person]:
        return [await self.person(f"{name}-{number}") for number in range(count)]

    async def sessions(self, name: str, count: int) -> list[Person]:
        """One person with a few clients open, each with a warm connection."""
        who = self.system.person(name)
        made = []
        for url in itertools.islice(self._urls, count):
            client = self.system.anonymous()
            client.base_url = httpx.URL(url)
            client.headers["Authorization"] = f"Bearer {who.token}"
            (await client.get("/healthz")).raise_for_status()
            made.append(Person(who.id, name, client, who.token))
        return made

    async def lapse(self, order_id: str) -> None:
        """Let the hold's end pass, for a ticket that is still held."""
        async with database.transaction(self.rows) as connection:
            await connection.execute(
                "update tickets.tickets set held_until = now() - interval '1 ms' where order_id = $1 and status = 'held'",
                order_id,
            )
            await connection.execute(
                """
                update orders.orders set expires_at = now() - interval '1 ms'
                where id = $1 and status in ('pending', 'awaiting_payment')
                """,
                order_id,
            )

    async def expire_due(self) -> None:
        """What a worker does when an alarm rings."""
        connection = await self.system.connect("orders")
        await connection.execute("select orders.expire_due(100, gen_random_uuid())")

    async def received(self, order_id: str) -> list[int]:
        """What Stripe took and kept for the order, by intent."""
        kept = [
            intent["amount_received"] - intent["refunded"]
            for intent in await self.stripe.intents()
            if intent["metadata"].get("order_id") == order_id
        ]
        return [amount for amount in kept if amount]

    async def state(self, order_id: str) -> tuple[str, str]:
        """The status of the order and of its one ticket, as the rows have it."""
        row = await self.rows.fetchrow(
            """
            select o.status as order_status, t.status as ticket_status
            from orders.orders o join orders.lines l on l.order_id = o.id join tickets.tickets t on t.id = l.ticket_id
            where o.id = $1
            """,
            order_id,
        )
        assert row is not None
        return row["order_status"], row["ticket_status"]


@asynccontextmanager
async def opened(
    system: System, nursery: Nursery, *changes: str, fault: str = ""
) -> AsyncIterator[Arena]:
    """An arena; `changes` is SQL, and `fault` a sabotage of the processes, that take a guard away."""
    rows = await database.open_pool(system.settings.database_url, name="tests", size=6)
    headers = {"Authorization": f"Bearer {STRIPE_KEY}"}
    processes: list[Process] = []
    try:
        for change in changes:
            await rows.execute(change)
        async with (
            system.part("stripe"),
            httpx.AsyncClient(
                base_url=system.stripe_url, headers=headers, timeout=10, verify=PLAIN
            ) as bank,
        ):
            ports = (system.ports["api"], free_port())
            environment = clean_environment() | system.environment | {SABOTAGE: fault}
            for port in ports:
                log = system.folder / f"api-{port}.log"
                processes.append(
                    nursery.start(("serve", "api", "--port", str(port)), environment, log)
                )
            urls = [f"http://127.0.0.1:{port}" for port in ports]
            for url, process in zip(urls, processes, strict=True):
                await _ready(system, url, process)
            yield Arena(system, rows, Stripe(bank), urls)
    finally:
        for process in processes:
            await process.kill()
        await database.close_pool(rows)


async def together(calls: Sequence[Call]) -> list[httpx.Response]:
    """Make all calls at the same instant."""
    barrier = asyncio.Barrier(len(calls))

    async def start(call: Call) -> httpx.Response:
        await barrier.wait()
        return await call()

    return await asyncio.gather(*map(start, calls))


def later(seconds: float, call: Call) -> Call:
    """The call, this long after the others."""

    async def start() -> httpx.Response:
        await asyncio.sleep(seconds)
        return await call()

    return start


def outcome(reply: httpx.Response) -> Any:
    """The status of a success; the status and the code of a refusal."""
    return reply.status_code if reply.is_success else code(reply)


async def lost_within_rounds(race: Callable[[], Awaitable[bool]]) -> bool:
    """Whether a race whose guard is off is lost, as it must be some time."""
    for _ in range(ROUNDS):
        if await race():
            return True
    return False


async def _ready(system: System, url: str, process: Process) -> None:
    visitor = system.anonymous()

    async def answers() -> bool:
        assert process.alive, process.last_words()
        try:
            return (await visitor.get(f"{url}/readyz")).status_code == 200
        except LOST:
            return False

    await until(answers, seconds=20)
