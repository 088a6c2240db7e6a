"""`gittix check` as a process: what it prints, what it exits with, and how a watch tells, shows and ends."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest

from backend.embedded.postgres import Postgres
from backend.kernel import database
from tests.check.market import Market
from tests.embedded.running import GITTIX, clean_environment, gittix
from tests.system import free_port

pytestmark = pytest.mark.timeout(120)

INDEX = "create unique index lines_one_live_per_ticket on orders.lines (ticket_id) where live"
NO_INDEX = "drop index orders.lines_one_live_per_ticket"


class Watching:
    """A running watch and the lines that it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def says(self, pattern: str) -> str:
        """The next line that has the pattern in it."""
        assert self.process.stdout is not None
        async with asyncio.timeout(40):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line)
                if re.search(pattern, line):
                    return line
        raise AssertionError("".join(self.lines))

    async def end(self, number: int) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 20)


@asynccontextmanager
async def watching(market: Market, *options: str) -> AsyncIterator[Watching]:
    process = await asyncio.create_subprocess_exec(
        *GITTIX,
        *("check", "--watch", "--every", "0.1", *options),
        env=clean_environment() | market.system.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Watching(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def check(market: Market, *options: str, **environment: str) -> tuple[int, str]:
    return await gittix("check", *options, **(market.system.environment | environment))


async def test_a_row_an_invariant_and_status_0_when_all_hold(market: Market) -> None:
    status, said = await check(market)
    assert status == 0, said
    assert re.findall(r"✓ │ (I\d+)", said) == [f"I{number}" for number in range(1, 11)]
    assert "✗" not in said


async def test_a_breach_is_a_sentence_with_ids_and_status_1(market: Market) -> None:
    payment_id = await market.rows.fetchval(
        "update payments.payments set amount = amount - 1 where id ="
        " (select id from payments.payments where status = 'captured' limit 1) returning id"
    )
    status, said = await check(market)
    assert status == 1
    assert re.findall(r"✗ │ (I\d+)", said) == ["I2"]
    assert f"I2: payment {payment_id} captured" in said


async def test_what_cant_be_looked_at_is_status_2(market: Market) -> None:
    status, said = await check(market, DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert (status, "Postgres can't be asked" in said, "Traceback" in said) == (2, True, False)
    status, said = await check(market, REDIS_URL="unix:///nowhere/redis.sock")
    assert (status, "I5 was not examined in full: Redis does not answer" in said) == (2, True)
    assert re.findall(r"✓ │ (I\d+)", said) == ["I1", "I2", "I3", "I4"]


async def test_machines_read_one_line_of_json(market: Market) -> None:
    await market.rows.execute(NO_INDEX)
    status, said = await check(market, "--json")
    assert status == 1
    told = msgspec.json.decode(said)
    assert told["status"] == "broken"
    broken = {row["invariant"]: row["offenders"] for row in told["invariants"] if row["broken"]}
    assert broken == {"I1": ["no valid unique index on orders.lines (ticket_id) where live"]}
    assert all(
        row["examined"] > 0 and row["says"] and not row["not_examined"]
        for row in told["invariants"]
    )


async def test_a_watch_tells_what_is_new_and_what_is_mended_and_shows_gauges(
    market: Market,
) -> None:
    port = free_port()
    async with watching(market, "--metrics-port", str(port)) as watch, httpx.AsyncClient() as http:

        async def gauge(line: str) -> float:
            shown = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
            (value,) = re.findall(rf"^{re.escape(line)} (\S+)$", shown, re.MULTILINE)
            return float(value)

        await watch.says("✓ all hold")
        assert await gauge('gittix_invariant_breaches{invariant="I1"}') == 0
        assert await gauge('gittix_invariant_examined{invariant="I1"}') > 0
        began = await gauge("gittix_check_last_run_timestamp_seconds")
        await market.rows.execute(NO_INDEX)
        await watch.says("✗ broken: I1 1")
        await watch.says(r"^  \+ I1: no valid unique index")
        assert await gauge('gittix_invariant_breaches{invariant="I1"}') == 1
        assert await gauge("gittix_check_last_run_timestamp_seconds") > began
        assert await gauge("gittix_check_duration_seconds") > 0
        # A breach that stays is told once.
        await watch.says("✗ broken")
        await watch.says("✗ broken")
        await market.rows.execute(INDEX)
        await watch.says(r"^  - I1: no valid unique index")
        assert sum(line.startswith("  + I1") for line in watch.lines) == 1
        assert await watch.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_watch_ends_with_the_status_of_its_last_look(number: int, market: Market) -> None:
    await market.rows.execute(NO_INDEX)
    async with watching(market, "--json") as watch:
        assert msgspec.json.decode(await watch.says("{"))["status"] == "broken"
        assert await watch.end(number) == 1


async def test_a_watch_goes_on_while_postgres_is_away(
    market: Market, lasting_postgres: Postgres
) -> None:
    name = await market.rows.fetchval("select current_database()")
    admin = await database.connect(lasting_postgres.url(database="postgres"), name="tests-admin")
    async with watching(market) as watch:
        await watch.says("✓ all hold")
        await admin.execute(f"alter database {name} allow_connections false")
        await watch.says(r"^\? Postgres can't be asked")
        await admin.execute(f"alter database {name} allow_connections true")
        await admin.close()
        await watch.says("✓ all hold")
        assert await watch.end(signal.SIGTERM) == 0


async def test_a_taken_port_is_a_sentence(market: Market) -> None:
    port = free_port()
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)
    async with server:
        status, said = await check(market, "--watch", "--metrics-port", str(port))
    assert status == 2
    assert f"the gauges can't be shown at 127.0.0.1:{port}: {os.strerror(98)}" in said
