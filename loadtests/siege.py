"""Runs a scenario's attacks one after the other, beside its honest users.

The attackers are one process of their own (`loadtests.attacks`), so that their work does not delay
the generator. Each attack has a name, a beginning and an end; the figures of the honest users are
computed for each.
"""

import subprocess
import sys
import time
from typing import NamedTuple, TypeVar

import gevent
import msgspec

from loadtests.attacks.attacker import Site
from loadtests.attacks.control import Begin, Outcome, Prepare
from loadtests.load_run import LoadRun, Phase
from loadtests.scenario import Siege

COMMAND = (sys.executable, "-m", "loadtests.attacks")
STOP_SECONDS = 5.0
CALM = "no attack"

T = TypeVar("T")


class Ready(msgspec.Struct):
    ready: bool


class AttackersGone(Exception):
    """The process of the attackers ended early."""


class Attackers(NamedTuple):
    """The process; its replies are lines of JSON."""

    process: "subprocess.Popen[bytes]"

    def call(self, request: object, reply: type[T]) -> T:
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(msgspec.json.encode(request) + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError as error:
            raise AttackersGone(str(error)) from error
        if not line:
            raise AttackersGone(f"exit status {self.process.wait(STOP_SECONDS)}")
        return msgspec.json.decode(line, type=reply)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(STOP_SECONDS)


def besiege(load_run: LoadRun) -> None:
    """Prepare the attackers, wait for the opening, run every attack, then close the run."""
    scenario = load_run.scenario
    if scenario.siege is None:
        return
    load_run.listed.wait()
    attackers = Attackers(
        subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    )
    try:
        shows = [str(show_id) for show_id in load_run.market.shows]
        site = Site(load_run.target.url, load_run.target.push_url, shows)
        names = [attack.name for attack in scenario.siege.attacks]
        attackers.call(Prepare(site, names), Ready)
        load_run.arrive()
        load_run.opened.wait()
        _run_all(load_run, scenario.siege, attackers)
    except AttackersGone as error:
        load_run.measurements.counts["faults of the load test"] += 1
        load_run.measurements.errors[f"the attackers' process ended: {error}"] += 1
    finally:
        attackers.stop()
        load_run.attacks_over = True


def _run_all(load_run: LoadRun, siege: Siege, attackers: Attackers) -> None:
    began_at = time.monotonic()
    gevent.sleep(siege.calm_seconds)
    load_run.phases.append(Phase(CALM, began_at, time.monotonic()))
    for attack in siege.attacks:
        began_at = time.monotonic()
        load_run.attack = attack.name
        outcome = attackers.call(Begin(attack.name, attack.seconds), Outcome)
        load_run.phases.append(Phase(attack.name, began_at, time.monotonic(), outcome))
        load_run.attack = ""
        if outcome.fault:
            load_run.measurements.counts["faults of the load test"] += 1
            load_run.measurements.errors[f"attack {attack.name}: {outcome.fault}"] += 1
        gevent.sleep(siege.pause_seconds)
