"""`gittix check` as a process: what it prints, and what it exits with."""

import re

import msgspec
import pytest

from tests.check.market import Market
from tests.embedded.running import gittix

pytestmark = [pytest.mark.xdist_group("check"), pytest.mark.timeout(120)]

NO_INDEX = "drop index orders.lines_one_live_per_ticket"


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
    assert all(row["examined"] > 0 and row["says"] and not row["not_examined"] for row in told["invariants"])
