"""Attacks beside honest users: each attack must reach its target, be refused, and harm nobody."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from loadtests import scenario as scenarios
from loadtests.attacks import sockets
from loadtests.attacks.attacker import Attacker, Site, is_loopback
from loadtests.attacks.catalogue import ATTACKS
from loadtests.attacks.control import Outcome
from loadtests.figures import Checked, figures
from loadtests.gate_results import Outcome as GateOutcome
from loadtests.gate_results import evaluate
from loadtests.load_run import LoadRun, Phase
from loadtests.measurements import Series
from loadtests.siege import CALM
from loadtests.target import Target
from tests.loadtests.command import load

ATTACKED = ("siege", "siege-smoke")


def load_run_of(name: str, outcomes: Mapping[str, Mapping[str, int]]) -> LoadRun:
    """A run of the scenario in which every hold and payment took 50 ms."""
    load_run = LoadRun(scenarios.scenario(name), Target("http://localhost", "ws://localhost", {}))
    load_run.open()
    siege = load_run.scenario.siege
    assert siege
    for number, phase in enumerate((CALM, *(attack.name for attack in siege.attacks))):
        outcome = None if phase == CALM else Outcome(dict(outcomes.get(phase, {})), 0.1, "")
        load_run.phases.append(Phase(phase, number * 10.0, number * 10.0 + 9, outcome))
        for kind in ("hold", "pay", "hold to screen"):
            series = load_run.measurements.series.setdefault(kind, Series())
            for at in range(30):
                series.at.append(number * 10.0 + at / 10 + 1)
                series.values.append(50)
    return load_run


def broken(name: str, load_run: LoadRun) -> set[str]:
    """The broken gates that name a phase or an attack."""
    results = evaluate(scenarios.gates(name), figures(load_run, None, Checked(None), []))
    return {
        result.figure
        for result in results
        if result.outcome is GateOutcome.BROKEN
        and (" during " in result.figure or result.figure.startswith("attack "))
    }


def refusals(name: str) -> dict[str, dict[str, int]]:
    """The least outcomes of each attack that its gates require."""
    found: dict[str, dict[str, int]] = {}
    gates = scenarios.gates(name)
    for figure, bound in gates.at_least.items():
        if figure.startswith("attack "):
            attack, _, outcome = figure.removeprefix("attack ").partition(": ")
            found.setdefault(attack, {})[outcome] = int(bound)
    for figure in gates.at_most:
        if figure.startswith("attack ") and not figure.endswith(("5xx", ": 500")):
            attack, _, outcome = figure.removeprefix("attack ").partition(": ")
            found[attack][outcome] = 1
    return found


@pytest.mark.parametrize("name", ATTACKED)
def test_every_attack_has_gates_for_its_refusal_and_for_honest_buyers(name: str) -> None:
    found, gates = scenarios.scenario(name), scenarios.gates(name)
    assert found.siege
    assert found.siege.seconds <= found.seconds, "the run would end before its attacks"
    assert found.instance["RATE_LIMITS"] == "on"
    for attack in found.siege.attacks:
        bounds = [gates.at_most[f"{kind} p95 ms during {attack.name}"] for kind in ("hold", "pay")]
        assert name != "siege" or bounds == [500, 500]
        assert refusals(name)[attack.name], attack.name
    assert name != "siege" or {attack.name for attack in found.siege.attacks} == set(ATTACKS)


@pytest.mark.parametrize("name", ATTACKED)
def test_attackers_that_do_nothing_break_the_gates_of_each_attack(name: str) -> None:
    assert broken(name, load_run_of(name, refusals(name))) == set()
    for attack in refusals(name):
        idle = broken(name, load_run_of(name, refusals(name) | {attack: {}}))
        assert idle
        assert all(figure.startswith(f"attack {attack}: ") for figure in idle)


def test_a_slow_payment_breaks_the_gate_of_the_attack_that_it_overlaps() -> None:
    load_run = load_run_of("siege", refusals("siege"))
    pays = load_run.measurements.series["pay"]
    # Paid at the beginning of the first attack, and answered after its end.
    for _ in range(3):
        pays.at.append(10.0 + 9.5)
        pays.values.append(9_000)
    assert broken("siege", load_run) == {"pay p95 ms during pongs"}


def test_an_attack_on_another_machine_is_refused() -> None:
    for site in (Site("http://192.0.2.1", "", []), Site("", "ws://192.0.2.1/app/key", [])):
        with pytest.raises(AssertionError, match="stays on its machine"):
            _ = site.gateway if site.push_url else site.api
    assert [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1")] == [True] * 3
    assert not any(
        is_loopback(host) for host in ("example.com", "192.0.2.1", "", "127.0.0.1.nip.io")
    )


async def test_a_gateway_that_accepts_a_flood_closes_no_attacker() -> None:
    """The negative control: the outcome comes from the gateway, not from the attack."""

    async def accept(socket: ServerConnection) -> None:
        await socket.send(ESTABLISHED)
        await socket.wait_closed()

    async with serve(accept, "127.0.0.1", 0) as server:
        [listening] = server.sockets
        port = listening.getsockname()[1]
        site = Site("http://127.0.0.1", f"ws://127.0.0.1:{port}/app/key?protocol=7", [])
        attacker = Attacker(site, [], 0.5)
        async with asyncio.timeout(10):
            await sockets.pongs(attacker)
    assert attacker.outcomes["kB sent"] > 100
    assert not [name for name in attacker.outcomes if name.startswith("closed")]


ESTABLISHED = (
    '{"event":"pusher:connection_established",'
    '"data":"{\\"socket_id\\":\\"1.1\\",\\"activity_timeout\\":30}"}'
)


async def test_an_attack_without_an_address_of_this_machine_does_not_begin(
    tmp_path: Path,
) -> None:
    finished = await load("siege-smoke", "--url", "http://192.0.2.1", out=tmp_path)
    assert finished.status == 2
    assert "only against an instance of this machine" in finished.output
