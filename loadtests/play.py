"""A run by locust as a library: the same people, shape and events that locust's own command and web page use."""

import time
from typing import Any, NamedTuple

import gevent
from locust.env import Environment
from locust.event import Events
from rich.console import Console

from loadtests.sampling import Sample, Sampling
from loadtests.scenario import Scenario
from loadtests.target import Target, TargetError
from loadtests.timeline import PEOPLE, Timeline, cast
from loadtests.trial import Reading, Trial, read_again

# Requests under way are finished: what was asked for and not answered could not be judged.
STOP_SECONDS = 15
TELL_SECONDS = 5


class Played(NamedTuple):
    trial: Trial
    reading: Reading | None
    samples: list[Sample]
    began_at: float


def play(scenario: Scenario, target: Target, console: Console) -> Played:
    """Everybody comes, the doors open and close, and all is read again. Raises TargetError when they never opened."""
    trial = Trial(scenario, target)
    shape = Timeline()
    environment = Environment(
        user_classes=list(PEOPLE),
        shape_class=shape,
        events=Events(),
        host=target.url,
    )
    began_at = time.time()
    enter(environment, trial)
    runner = environment.create_local_runner()
    sampling = Sampling(trial, lambda: runner.user_count)
    helpers = [gevent.spawn(work) for work in (trial.observed.keep_time, sampling.run)]
    helpers.append(gevent.spawn(_tell, trial, sampling, console))
    try:
        runner.start_shape()
        gevent.joinall([runner.shape_greenlet])
        runner.stop()
        gevent.killall(helpers)
        return Played(trial, leave(trial), sampling.samples, began_at)
    finally:
        gevent.killall(helpers)
        trial.watch.close()
        runner.quit()


def enter(environment: Any, trial: Trial) -> None:
    """Make this the run that the environment's people are in."""
    cast(trial)
    environment.stop_timeout = STOP_SECONDS
    environment.trial = trial
    environment.shape_class.trial = trial
    trial.observed.shown = lambda name, late: environment.stats.get(name, "PUSH").log(late, 0)
    environment.events.request.add_listener(trial.observed.request)
    environment.events.user_error.add_listener(trial.observed.user_error)


def leave(trial: Trial) -> Reading:
    """Nobody changes anything any more: look what came of it. Raises TargetError."""
    if not trial.opened.is_set():
        faults = "; ".join(fault for fault, _ in trial.observed.faults.most_common(3))
        raise TargetError(
            f"Only {trial.present} of {trial.expected} people could get ready, so the doors never opened. "
            f"What they met: {faults or 'nothing but waiting'}"
        )
    return read_again(trial)


def _tell(trial: Trial, sampling: Sampling, console: Console) -> None:
    """A line every few seconds."""
    while True:
        gevent.sleep(TELL_SECONDS)
        if not sampling.samples:
            continue
        now = sampling.samples[-1]
        if not trial.opened.is_set():
            console.print(
                f"  {trial.present:,} of {trial.expected:,} people are ready …", highlight=False
            )
            continue
        wrong = sum(
            trial.observed.counts[name]
            for name in ("5xx", "connection errors", "unexpected replies")
        )
        console.print(
            f"  {now.at - trial.opened_at:4.0f} s  {now.people:,} people  {now.requests:,} requests, {wrong:,} wrong  "
            f"tickets: {now.available:,} free, {now.held:,} held, {now.sold:,} sold  {now.messages:,} messages",
            highlight=False,
        )
