"""`gittix check` as a process: its output, its exit status, and the output, metrics and end of a
watch.
"""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest

from backend.check.invariants import INVARIANTS
from backend.embedded.postgres import Postgres
from backend.kernel import database
from loadtests.ports import free_port
from tests.check.seeded_system import SeededSystem
from tests.embedded.running import GITTIX, clean_environment, gittix

pytestmark = pytest.mark.timeout(120)

INDEX = "create unique index lines_one_live_per_ticket on orders.lines (ticket_id) where live"
NO_INDEX = "drop index orders.lines_one_live_per_ticket"


class WatchProcess:
    """A running watch and the lines that it printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def next_line(self, pattern: str) -> str:
        """Return the next line that matches the pattern."""
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
async def running_watch(seeded: SeededSystem, *options: str) -> AsyncIterator[WatchProcess]:
    process = await asyncio.create_subprocess_exec(
        *GITTIX,
        *("check", "--watch", "--every", "0.1", *options),
        env=clean_environment() | seeded.system.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield WatchProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def check(seeded: SeededSystem, *options: str, **environment: str) -> tuple[int, str]:
    return await gittix("check", *options, **(seeded.system.environment | environment))


async def test_an_intact_system_prints_one_row_per_invariant_and_exits_with_0(
    seeded: SeededSystem,
) -> None:
    status, output = await check(seeded)
    assert status == 0, output
    assert re.findall(r"✓ │ (I\d+)", output) == [invariant.name for invariant in INVARIANTS]
    assert "✗" not in output


async def test_a_breach_prints_a_sentence_with_ids_and_exits_with_1(seeded: SeededSystem) -> None:
    payment_id = await seeded.rows.fetchval(
        "update payments.payments set amount = amount - 1 where id ="
        " (select id from payments.payments where status = 'captured' limit 1) returning id"
    )
    status, output = await check(seeded)
    assert status == 1
    assert re.findall(r"✗ │ (I\d+)", output) == ["I2"]
    assert f"I2: payment {payment_id} captured" in output


async def test_an_unreachable_store_exits_with_2(seeded: SeededSystem) -> None:
    status, output = await check(seeded, DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert (status, "Postgres can't be read" in output, "Traceback" in output) == (2, True, False)
    status, output = await check(seeded, REDIS_URL="unix:///nowhere/redis.sock")
    assert (status, "I5 was not examined in full: Redis does not answer" in output) == (2, True)
    assert re.findall(r"✓ │ (I\d+)", output) == ["I1", "I2", "I3", "I4", "I16"]


async def test_json_output_is_one_line(seeded: SeededSystem) -> None:
    await seeded.rows.execute(NO_INDEX)
    status, output = await check(seeded, "--json")
    assert status == 1
    decoded = msgspec.json.decode(output)
    assert decoded["status"] == "broken"
    broken = {row["invariant"]: row["offenders"] for row in decoded["invariants"] if row["broken"]}
    assert broken == {"I1": ["no valid unique index on orders.lines (ticket_id) where live"]}
    assert all(
        row["examined"] > 0 and row["says"] and not row["not_examined"]
        for row in decoded["invariants"]
    )


async def test_a_watch_prints_new_and_resolved_violations_and_exports_metrics(
    seeded: SeededSystem,
) -> None:
    port = free_port()
    async with (
        running_watch(seeded, "--metrics-port", str(port)) as watch,
        httpx.AsyncClient() as http,
    ):

        async def gauge(line: str) -> float:
            shown = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
            (value,) = re.findall(rf"^{re.escape(line)} (\S+)$", shown, re.MULTILINE)
            return float(value)

        await watch.next_line("✓ all hold")
        assert await gauge('gittix_invariant_breaches{invariant="I1"}') == 0
        assert await gauge('gittix_invariant_examined{invariant="I1"}') > 0
        began = await gauge("gittix_check_last_run_timestamp_seconds")
        await seeded.rows.execute(NO_INDEX)
        await watch.next_line("✗ broken: I1 1")
        await watch.next_line(r"^  \+ I1: no valid unique index")
        assert await gauge('gittix_invariant_breaches{invariant="I1"}') == 1
        assert await gauge("gittix_check_last_run_timestamp_seconds") > began
        assert await gauge("gittix_check_duration_seconds") > 0
        # A breach that persists is printed once.
        await watch.next_line("✗ broken")
        await watch.next_line("✗ broken")
        await seeded.rows.execute(INDEX)
        await watch.next_line(r"^  - I1: no valid unique index")
        assert sum(line.startswith("  + I1") for line in watch.lines) == 1
        assert await watch.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_watch_exits_with_the_status_of_its_last_check(
    number: int, seeded: SeededSystem
) -> None:
    await seeded.rows.execute(NO_INDEX)
    async with running_watch(seeded, "--json") as watch:
        assert msgspec.json.decode(await watch.next_line("{"))["status"] == "broken"
        assert await watch.end(number) == 1


async def test_a_watch_continues_while_postgres_is_unreachable(
    seeded: SeededSystem, durable_postgres: Postgres
) -> None:
    name = await seeded.rows.fetchval("select current_database()")
    admin = await database.connect(durable_postgres.url(database="postgres"), name="tests-admin")
    async with running_watch(seeded) as watch:
        await watch.next_line("✓ all hold")
        await admin.execute(f"alter database {name} allow_connections false")
        await watch.next_line(r"^\? Postgres can't be read")
        await admin.execute(f"alter database {name} allow_connections true")
        await admin.close()
        await watch.next_line("✓ all hold")
        assert await watch.end(signal.SIGTERM) == 0


async def test_a_taken_metrics_port_prints_a_sentence(seeded: SeededSystem) -> None:
    port = free_port()
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)
    async with server:
        status, output = await check(seeded, "--watch", "--metrics-port", str(port))
    assert status == 2
    assert f"the metrics can't be served at 127.0.0.1:{port}: {os.strerror(98)}" in output
