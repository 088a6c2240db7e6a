"""The run second by second: people, tickets, and what the generator and the machine were busy with."""

import time
from collections.abc import Callable
from typing import NamedTuple

import gevent
import psutil

from loadtests.trial import Trial

SAMPLE_SECONDS = 1.0


class Sample(NamedTuple):
    """`generator_cpu` is a share of one core, `machine_cpu` one of all of them, both in percent."""

    at: float
    people: int
    available: int
    held: int
    sold: int
    requests: int
    messages: int
    generator_cpu: float
    machine_cpu: float


class Sampling:
    def __init__(self, trial: Trial, people: Callable[[], int]) -> None:
        self._trial = trial
        self._people = people
        self.samples: list[Sample] = []

    def run(self) -> None:
        process = psutil.Process()
        process.cpu_percent()
        psutil.cpu_percent()
        while True:
            gevent.sleep(SAMPLE_SECONDS)
            board = self._trial.board
            self.samples.append(
                Sample(
                    at=time.monotonic(),
                    people=self._people(),
                    available=board.count("available"),
                    held=board.count("held", "reserved"),
                    sold=board.count("sold"),
                    requests=self._trial.observed.counts["requests"],
                    messages=self._trial.watch.evidence.messages,
                    generator_cpu=process.cpu_percent(),
                    machine_cpu=psutil.cpu_percent(),
                )
            )
