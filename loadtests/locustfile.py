"""For locust's own command and web page: `locust -f loadtests/locustfile.py --host URL`.

The same people, scenarios, gates and reports as `make load`; it starts no instance, and the web page decides when it begins. The
verdict is printed when a run ends, and is the exit status of `--headless`.
"""

import os
import time
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.runners import LocalRunner
from rich.console import Console

from loadtests import scenario as scenarios
from loadtests.command import FOLDER, conclude
from loadtests.people.buyer import Buyer
from loadtests.people.seller import Seller
from loadtests.people.shopper import Shopper
from loadtests.play import Played, enter, leave
from loadtests.sampling import Sampling
from loadtests.target import Target, TargetError, reached
from loadtests.timeline import Tick, Timeline
from loadtests.trial import Trial

__all__ = ["Buyer", "OnStage", "Seller", "Shopper"]


class OnStage(Timeline):
    """Begins a new run each time that locust is told to start."""

    fresh = False

    def reset_time(self) -> None:
        """Locust says so at each start, and asks for the first tick after it."""
        super().reset_time()
        self.fresh = True

    def tick(self) -> Tick:
        if self.fresh:
            self.fresh = False
            self._begin()
        return super().tick()

    def _begin(self) -> None:
        runner = self.runner
        assert runner
        self.trial = None
        self.environment = runner.environment
        # Until it is judged nothing has passed.
        self.environment.process_exit_code = 2
        try:
            trial = Trial(scenarios.scenario(self._options.scenario), self._target())
        except TargetError as fault:
            _say(fault)
            return
        enter(self.environment, trial)
        self.began_at = time.time()
        self.sampling = Sampling(trial, lambda: runner.user_count)
        self.helpers = [
            gevent.spawn(work) for work in (trial.observed.keep_time, self.sampling.run)
        ]

    def end(self) -> None:
        """Judge what was played."""
        if self.trial is None:
            return
        gevent.killall(self.helpers)
        console, name = Console(), self._options.scenario
        try:
            played = Played(self.trial, leave(self.trial), self.sampling.samples, self.began_at)
            self.environment.process_exit_code = conclude(
                name,
                scenarios.gates(name),
                played,
                Path(os.environ.get("LOAD_OUT", FOLDER)),
                console,
            )
        except TargetError as fault:
            _say(fault)
        finally:
            self.trial.watch.close()

    @property
    def _options(self) -> Any:
        return self.environment.parsed_options

    def _target(self) -> Target:
        known = os.environ if os.environ.get("DATABASE_URL") else {}
        return reached(self.environment.host or "", self._options.push_url, known)


def _say(fault: TargetError) -> None:
    Console(stderr=True).print(f"load: {fault}", highlight=False, markup=False, soft_wrap=True)


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    parser.add_argument(
        "--scenario",
        choices=scenarios.names(),
        default="steady",
        env_var="LOAD_SCENARIO",
        help="What people do, and how many.",
    )
    parser.add_argument("--push-url", default="", env_var="LOAD_PUSH_URL", help="Where sockets go.")


@events.init.add_listener
def _alone(environment: Any, **_: Any) -> None:
    if not isinstance(environment.runner, LocalRunner):
        raise SystemExit(
            "load: one locust process at a time: what proves a lost message or a ticket sold twice is known to one only. "
            "Start locust without --master, --worker and --processes."
        )


@events.test_stopping.add_listener
def _closing(environment: Any, **_: Any) -> None:
    if environment.shape_class.trial is not None:
        environment.shape_class.trial.close()


@events.test_stop.add_listener
def _stopped(environment: Any, **_: Any) -> None:
    environment.shape_class.end()
