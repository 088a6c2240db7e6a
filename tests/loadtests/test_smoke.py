"""The load tests' command end to end, on an embedded instance; its gates can fail."""

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from loadtests import scenario
from loadtests.instance import instance
from tests.loadtests.command import Finished, dropping_one_message, load

GATES = (scenario.FOLDER / "smoke.gates.toml").read_text()

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def running() -> Iterator[Mapping[str, str]]:
    with instance() as environment:
        yield environment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def breached(
    running: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Finished]:
    """A run with a dropped message, and with one gate that can't be met."""
    folder = tmp_path_factory.mktemp("breached")
    gates = folder / "gates.toml"
    gates.write_text(re.sub(r'"hold p95 ms" = \d+', '"hold p95 ms" = 0', GATES))
    async with dropping_one_message(running["PUSH_URL"]) as push_url:
        yield await load(
            *("smoke", "--seconds", "2", "--url", running["API_URL"]),
            *("--push-url", push_url, "--gates", str(gates)),
            out=folder,
            environment=running,
        )


async def test_a_run_without_a_target_starts_an_instance(tmp_path: Path) -> None:
    finished = await load("smoke", "--seconds", "3", "--data", str(tmp_path / "none"), out=tmp_path)
    assert finished.status == 0, finished.output
    assert "RATE_LIMITS=off" in finished.output
    assert finished.report["passed"]
    assert finished.report["figures"]["sold"] >= 2
    assert finished.file("series.csv").startswith("name,n,per_second,p50")
    page = finished.file("report.html")
    assert page.count("<svg") == 6
    assert not re.search(r"(src|href)=.https?:|@import|url\(", page), "the page fetches something"


async def test_a_breached_gate_and_a_lost_message_are_reported(breached: Finished) -> None:
    assert breached.status == 1, breached.output
    # Without a later message about that ticket, its page stays stale as well.
    assert set(breached.broken) - {"pages behind"} == {"hold p95 ms", "push missing"}, (
        breached.output
    )
    assert re.search(r"✗ │ hold p95 ms +│ ≤ │ +0 │ +[\d.,]+ │ by \+", breached.output), (
        breached.output
    )
    assert breached.report["figures"]["push missing"] == 1
    assert f"{len(breached.broken)} of " in breached.file("report.html")


@pytest.mark.usefixtures("breached")
async def test_a_ticket_sold_twice_is_reported(running: Mapping[str, str], tmp_path: Path) -> None:
    rows = await asyncpg.connect(running["DATABASE_URL"])
    try:
        await rows.execute("drop index orders.lines_one_live_per_ticket")
        planted = await rows.execute(
            """
            with two as (
                select min(l.ticket_id::text)::uuid as one, max(l.ticket_id::text)::uuid as other
                from orders.lines l join orders.orders o on o.id = l.order_id
                where l.live and o.status = 'completed'
            )
            update orders.lines l set ticket_id = two.one from two
            where l.ticket_id = two.other and l.live
            """
        )
    finally:
        await rows.close()
    assert planted == "UPDATE 1"
    write_environment(tmp_path, running)
    finished = await load("smoke", "--seconds", "2", "--data", str(tmp_path), out=tmp_path)
    assert finished.status == 1, finished.output
    assert finished.broken == ["invariants broken"], finished.output
    assert "is on 2 live lines" in finished.output


async def test_a_gate_that_needs_an_unknown_database_is_reported_as_not_examined(
    running: Mapping[str, str], tmp_path: Path
) -> None:
    finished = await load(
        *("smoke", "--seconds", "2", "--url", running["API_URL"]),
        out=tmp_path,
        environment={"DATABASE_URL": ""},
    )
    assert finished.status == 2, finished.output
    assert "only the address is known" in finished.output
    assert re.search(r"\? │ invariants broken .* not examined", finished.output), finished.output


async def test_an_instance_with_rate_limits_is_refused(
    running: Mapping[str, str], tmp_path: Path
) -> None:
    write_environment(tmp_path, {**running, "RATE_LIMITS": "on"})
    finished = await load("smoke", "--data", str(tmp_path), out=tmp_path)
    assert finished.status == 2
    assert "Start it with RATE_LIMITS=off" in finished.output


async def test_attacks_are_refused_and_honest_users_buy_beside_them(
    running: Mapping[str, str], tmp_path: Path
) -> None:
    # The limits of the gateway and of input, which hold without RATE_LIMITS too.
    finished = await load(
        "siege-smoke", "--url", running["API_URL"], out=tmp_path, environment=running
    )
    # Another test of this instance plants a ticket that is sold twice.
    assert set(finished.broken) <= {"invariants broken"}, finished.output
    figures = finished.report["figures"]
    assert figures["attack pongs: closed 4100"] >= 1
    assert figures["hold n during pongs"] >= 1


async def test_an_unknown_scenario_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    finished = await load("rush", out=tmp_path)
    assert finished.status == 2
    assert (
        "There is no scenario 'rush'; there are: siege, siege-smoke, smoke, soak, spike, steady, "
        "storm." in finished.output
    )


def write_environment(folder: Path, environment: Mapping[str, str]) -> None:
    """Make the folder that of a running `gittix up` with this environment."""
    (folder / "environment.json").write_text(json.dumps(dict(environment)))
