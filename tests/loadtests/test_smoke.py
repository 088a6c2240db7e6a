"""The load tests' command end to end, on an embedded instance, and that its gates can fail."""

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from loadtests import scenario
from loadtests.instance import instance
from tests.loadtests.loading import Ended, load, losing_one

GATES = (scenario.FOLDER / "smoke.gates.toml").read_text()

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def running() -> Iterator[Mapping[str, str]]:
    with instance() as environment:
        yield environment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def breached(
    running: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ended]:
    """A run in which a message is lost, under gates of which one can't be met."""
    folder = tmp_path_factory.mktemp("breached")
    gates = folder / "gates.toml"
    gates.write_text(re.sub(r'"hold p95 ms" = \d+', '"hold p95 ms" = 0', GATES))
    async with losing_one(running["PUSH_URL"]) as push_url:
        yield await load(
            *("smoke", "--seconds", "2", "--url", running["API_URL"]),
            *("--push-url", push_url, "--gates", str(gates)),
            out=folder,
            environment=running,
        )


async def test_it_runs_on_an_instance_of_its_own(tmp_path: Path) -> None:
    ended = await load("smoke", "--seconds", "3", "--data", str(tmp_path / "none"), out=tmp_path)
    assert ended.status == 0, ended.output
    assert "RATE_LIMITS=off" in ended.output
    assert ended.report["passed"]
    assert ended.report["figures"]["sold"] >= 2
    assert ended.file("series.csv").startswith("name,n,per_second,p50")
    page = ended.file("report.html")
    assert page.count("<svg") == 6
    assert not re.search(r"(src|href)=.https?:|@import|url\(", page), "the page fetches something"


async def test_a_gate_that_is_not_met_and_a_lost_message_are_named(breached: Ended) -> None:
    assert breached.status == 1, breached.output
    # Where nothing else was told of that ticket, its page stands behind as well.
    assert set(breached.broken) - {"pages behind"} == {"hold p95 ms", "push missing"}, (
        breached.output
    )
    assert re.search(r"✗ │ hold p95 ms +│ ≤ │ +0 │ +[\d.,]+ │ by \+", breached.output), (
        breached.output
    )
    assert breached.report["figures"]["push missing"] == 1
    assert f"{len(breached.broken)} of " in breached.file("report.html")


@pytest.mark.usefixtures("breached")
async def test_a_ticket_that_is_sold_twice_is_named(
    running: Mapping[str, str], tmp_path: Path
) -> None:
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
            update orders.lines l set ticket_id = two.one from two where l.ticket_id = two.other and l.live
            """
        )
    finally:
        await rows.close()
    assert planted == "UPDATE 1"
    described(tmp_path, running)
    ended = await load("smoke", "--seconds", "2", "--data", str(tmp_path), out=tmp_path)
    assert ended.status == 1, ended.output
    assert ended.broken == ["invariants broken"], ended.output
    assert "is on 2 live lines" in ended.output


async def test_what_only_the_database_tells_is_not_passed_unseen(
    running: Mapping[str, str], tmp_path: Path
) -> None:
    ended = await load(
        *("smoke", "--seconds", "2", "--url", running["API_URL"]),
        out=tmp_path,
        environment={"DATABASE_URL": ""},
    )
    assert ended.status == 2, ended.output
    assert "only the address is known" in ended.output
    assert re.search(r"\? │ invariants broken .* not looked at", ended.output), ended.output


async def test_an_instance_that_limits_rates_is_not_loaded(
    running: Mapping[str, str], tmp_path: Path
) -> None:
    described(tmp_path, {**running, "RATE_LIMITS": "on"})
    ended = await load("smoke", "--data", str(tmp_path), out=tmp_path)
    assert ended.status == 2
    assert "Start it with RATE_LIMITS=off" in ended.output


async def test_an_unknown_scenario_is_told_those_that_are(tmp_path: Path) -> None:
    ended = await load("rush", out=tmp_path)
    assert ended.status == 2
    assert (
        "There is no scenario 'rush'; there are: smoke, soak, spike, steady, storm." in ended.output
    )


def described(folder: Path, environment: Mapping[str, str]) -> None:
    """The folder as that of a running `gittix up` with this environment."""
    (folder / "environment.json").write_text(json.dumps(dict(environment)))
