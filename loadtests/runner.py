"""Run a scenario with locust as a library: users, shape and events as in `locustfile`."""

import time
from typing import Any, NamedTuple

import gevent
from locust.env import Environment
from locust.event import Events
from rich.console import Console

from loadtests.load_run import FinalState, LoadRun, read_final_state
from loadtests.load_shape import USER_CLASSES, LoadShape, set_user_counts
from loadtests.sampling import Sample, Sampling
from loadtests.scenario import Scenario
from loadtests.siege import besiege
from loadtests.target import Target, TargetError

# Requests in flight may finish: the figures need their outcomes.
STOP_SECONDS = 15
PROGRESS_SECONDS = 5


class RunResult(NamedTuple):
    load_run: LoadRun
    final: FinalState | None
    samples: list[Sample]
    began_at: float


def execute(scenario: Scenario, target: Target, console: Console) -> RunResult:
    """Run the scenario, then read the final state. Raises TargetError when it never opened."""
    load_run = LoadRun(scenario, target)
    shape = LoadShape()
    environment = Environment(
        user_classes=list(USER_CLASSES),
        shape_class=shape,
        events=Events(),
        host=target.url,
    )
    began_at = time.time()
    attach(environment, load_run)
    runner = environment.create_local_runner()
    sampling = Sampling(load_run, lambda: runner.user_count)
    helpers = [gevent.spawn(work) for work in (load_run.measurements.keep_time, sampling.run)]
    helpers.append(gevent.spawn(_print_progress, load_run, sampling, console))
    helpers.append(gevent.spawn(besiege, load_run))
    try:
        runner.start_shape()
        gevent.joinall([runner.shape_greenlet])
        runner.stop()
        gevent.killall(helpers)
        return RunResult(load_run, finish(load_run), sampling.samples, began_at)
    finally:
        gevent.killall(helpers)
        load_run.monitor.close()
        runner.quit()


def attach(environment: Any, load_run: LoadRun) -> None:
    """Make this the run of the environment's users."""
    set_user_counts(load_run)
    environment.stop_timeout = STOP_SECONDS
    environment.load_run = load_run
    environment.shape_class.load_run = load_run
    load_run.measurements.on_push = lambda name, late: environment.stats.get(name, "PUSH").log(
        late, 0
    )
    environment.events.request.add_listener(load_run.measurements.request)
    environment.events.user_error.add_listener(load_run.measurements.user_error)


def finish(load_run: LoadRun) -> FinalState:
    """Read the final state, after the last change. Raises TargetError when it never opened."""
    if not load_run.opened.is_set():
        errors = "; ".join(error for error, _ in load_run.measurements.errors.most_common(3))
        raise TargetError(
            f"Only {load_run.present} of {load_run.expected} users became ready, "
            f"so the scenario never began. Their errors: {errors or 'none, they still wait'}"
        )
    return read_final_state(load_run)


def _print_progress(load_run: LoadRun, sampling: Sampling, console: Console) -> None:
    """Print a line every few seconds."""
    while True:
        gevent.sleep(PROGRESS_SECONDS)
        if not sampling.samples:
            continue
        now = sampling.samples[-1]
        if not load_run.opened.is_set():
            console.print(
                f"  {load_run.present:,} of {load_run.expected:,} users are ready …",
                highlight=False,
            )
            continue
        wrong = sum(
            load_run.measurements.counts[name]
            for name in ("5xx", "connection errors", "unexpected replies")
        )
        console.print(
            f"  {now.at - load_run.opened_at:4.0f} s  {now.users:,} users  "
            f"{now.requests:,} requests, {wrong:,} wrong  "
            f"tickets: {now.available:,} free, {now.held:,} held, {now.sold:,} sold  "
            f"{now.messages:,} messages"
            + (f"  under attack: {load_run.attack}" if load_run.attack else ""),
            highlight=False,
        )
