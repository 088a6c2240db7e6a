"""Two API processes on one database, one Redis and one Stripe, and concurrent clients."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from backend.kernel import database
from backend.kernel.database import Pool
from loadtests.ports import free_port
from tests.crash.launcher import FAULTS_VARIABLE
from tests.crash.processes import LOST
from tests.embedded.running import clean_environment
from tests.fork_server import CRASHING, ForkServer, Process
from tests.payments.shop import Stripe
from tests.replies import code
from tests.system import PLAIN, STRIPE_KEY, Person, System, until

Call = Callable[[], Awaitable[httpx.Response]]

# A negative control must lose its race within so many rounds.
ROUNDS = 20


class Cluster:
    """Clients are assigned to the two processes in turn; each has its own connection."""

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
        """Return several clients of one user, each with an open connection."""
        person = self.system.person(name)
        made = []
        for url in itertools.islice(self._urls, count):
            client = self.system.anonymous()
            client.base_url = httpx.URL(url)
            client.headers["Authorization"] = f"Bearer {person.token}"
            (await client.get("/healthz")).raise_for_status()
            made.append(Person(person.id, name, client, person.token))
        return made

    async def make_overdue(self, order_id: str) -> None:
        """Move the end of a hold into the past, if its ticket is still held."""
        async with database.transaction(self.rows) as connection:
            await connection.execute(
                "update tickets.tickets set held_until = now() - interval '1 ms' where order_id ="
                " $1 and status = 'held'",
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
        """Expire due orders, as a worker does at an alarm."""
        connection = await self.system.connect("orders")
        await connection.execute("select orders.expire_due(100)")

    async def received(self, order_id: str) -> list[int]:
        """Return the captured amounts of the order's intents, without refunds."""
        kept = [
            intent["amount_received"] - intent["refunded"]
            for intent in await self.stripe.intents()
            if intent["metadata"].get("order_id") == order_id
        ]
        return [amount for amount in kept if amount]

    async def state(self, order_id: str) -> tuple[str, str]:
        """Return the status of the order's row and of its ticket's row."""
        row = await self.rows.fetchrow(
            """
            select o.status as order_status, t.status as ticket_status
            from orders.orders o join orders.lines l on l.order_id = o.id
                join tickets.tickets t on t.id = l.ticket_id
            where o.id = $1
            """,
            order_id,
        )
        assert row is not None
        return row["order_status"], row["ticket_status"]


@asynccontextmanager
async def open_cluster(
    system: System, fork_server: ForkServer, *changes: str, fault: str = ""
) -> AsyncIterator[Cluster]:
    """Open a cluster. `changes` is SQL and `fault` a planted fault that each remove a guard."""
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
            environment = clean_environment() | system.environment | {FAULTS_VARIABLE: fault}
            for port in ports:
                log = system.folder / f"api-{port}.log"
                arguments = ("serve", "api", "--port", str(port))
                processes.append(fork_server.start(arguments, environment, log, module=CRASHING))
            urls = [f"http://127.0.0.1:{port}" for port in ports]
            for url, process in zip(urls, processes, strict=True):
                await _ready(system, url, process)
            yield Cluster(system, rows, Stripe(bank), urls)
    finally:
        for process in processes:
            await process.kill()
        await database.close_pool(rows)


async def call_together(calls: Sequence[Call]) -> list[httpx.Response]:
    """Start all calls at the same time."""
    barrier = asyncio.Barrier(len(calls))

    async def start(call: Call) -> httpx.Response:
        await barrier.wait()
        return await call()

    return await asyncio.gather(*map(start, calls))


def delayed(seconds: float, call: Call) -> Call:
    """Return the call with a delay."""

    async def start() -> httpx.Response:
        await asyncio.sleep(seconds)
        return await call()

    return start


def outcome(reply: httpx.Response) -> Any:
    """Return the status of a success, or the status and the code of a refusal."""
    return reply.status_code if reply.is_success else code(reply)


async def is_lost_within_rounds(race: Callable[[], Awaitable[bool]]) -> bool:
    """Return whether a race without its guard is lost within ROUNDS rounds."""
    for _ in range(ROUNDS):
        if await race():
            return True
    return False


async def _ready(system: System, url: str, process: Process) -> None:
    visitor = system.anonymous()

    async def answers() -> bool:
        assert process.alive, process.log_tail()
        try:
            return (await visitor.get(f"{url}/readyz")).status_code == 200
        except LOST:
            return False

    await until(answers, seconds=20)
