"""Samples of a run, one each second: users, tickets, CPU of the generator and the machine."""

import time
from collections.abc import Callable
from typing import NamedTuple

import gevent
import psutil

from loadtests.load_run import LoadRun

SAMPLE_SECONDS = 1.0


class Sample(NamedTuple):
    """`generator_cpu` is a percentage of one core, `machine_cpu` of all cores."""

    at: float
    users: int
    available: int
    held: int
    sold: int
    requests: int
    messages: int
    generator_cpu: float
    machine_cpu: float


class Sampling:
    def __init__(self, load_run: LoadRun, users: Callable[[], int]) -> None:
        self._trial = load_run
        self._users = users
        self.samples: list[Sample] = []

    def run(self) -> None:
        process = psutil.Process()
        process.cpu_percent()
        psutil.cpu_percent()
        while True:
            gevent.sleep(SAMPLE_SECONDS)
            market = self._trial.market
            self.samples.append(
                Sample(
                    at=time.monotonic(),
                    users=self._users(),
                    available=market.count("available"),
                    held=market.count("held", "reserved"),
                    sold=market.count("sold"),
                    requests=self._trial.measurements.counts["requests"],
                    messages=self._trial.monitor.deliveries.messages,
                    generator_cpu=process.cpu_percent(),
                    machine_cpu=psutil.cpu_percent(),
                )
            )
