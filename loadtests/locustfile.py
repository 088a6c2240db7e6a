"""For locust's own command and web page: `locust -f loadtests/locustfile.py --host URL`.

The users, scenarios, gates and reports are those of `make load`, but no instance is started, and
the web page starts each run. At a run's end the gates are printed; with `--headless` they decide
the exit status.
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
from loadtests.load_run import LoadRun
from loadtests.load_shape import LoadShape, Tick
from loadtests.runner import RunResult, attach, finish
from loadtests.sampling import Sampling
from loadtests.siege import besiege
from loadtests.target import Target, TargetError, knows_database, reach, require_loopback
from loadtests.users.buyer import Buyer
from loadtests.users.seller import Seller
from loadtests.users.shopper import Shopper

__all__ = ["Buyer", "ScenarioShape", "Seller", "Shopper"]


class ScenarioShape(LoadShape):
    """Begins a new run at each start by locust."""

    fresh = False

    def reset_time(self) -> None:
        """Called by locust at each start, before the first tick."""
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
        self.load_run = None
        self.environment = runner.environment
        # Replaced when the gates are evaluated.
        self.environment.process_exit_code = 2
        try:
            load_run = LoadRun(scenarios.scenario(self._options.scenario), self._target())
        except TargetError as error:
            _print_error(error)
            return
        attach(self.environment, load_run)
        self.began_at = time.time()
        self.sampling = Sampling(load_run, lambda: runner.user_count)
        self.helpers = [
            gevent.spawn(work) for work in (load_run.measurements.keep_time, self.sampling.run)
        ]
        self.helpers.append(gevent.spawn(besiege, load_run))

    def end(self) -> None:
        """Evaluate the gates of the run that ended."""
        if self.load_run is None:
            return
        gevent.killall(self.helpers)
        console, name = Console(), self._options.scenario
        try:
            result = RunResult(
                self.load_run, finish(self.load_run), self.sampling.samples, self.began_at
            )
            self.environment.process_exit_code = conclude(
                name,
                scenarios.gates(name),
                result,
                Path(os.environ.get("LOAD_OUT", FOLDER)),
                console,
            )
        except TargetError as error:
            _print_error(error)
        finally:
            self.load_run.monitor.close()

    @property
    def _options(self) -> Any:
        return self.environment.parsed_options

    def _target(self) -> Target:
        known = os.environ if knows_database(os.environ) else {}
        found = reach(self.environment.host or "", self._options.push_url, known)
        if scenarios.scenario(self._options.scenario).siege is not None:
            require_loopback(found.url)
            require_loopback(found.push_url)
        return found


def _print_error(error: TargetError) -> None:
    Console(stderr=True).print(f"load: {error}", highlight=False, markup=False, soft_wrap=True)


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    parser.add_argument(
        "--scenario",
        choices=scenarios.names(),
        default="steady",
        env_var="LOAD_SCENARIO",
        help="The scenario's name.",
    )
    parser.add_argument(
        "--push-url", default="", env_var="LOAD_PUSH_URL", help="The push gateway's address."
    )


@events.init.add_listener
def _alone(environment: Any, **_: Any) -> None:
    if not isinstance(environment.runner, LocalRunner):
        raise SystemExit(
            "load: only one locust process can run, since lost messages and tickets sold twice are "
            "detected within it. Start locust without --master, --worker and --processes."
        )


@events.test_stopping.add_listener
def _closing(environment: Any, **_: Any) -> None:
    if environment.shape_class.load_run is not None:
        environment.shape_class.load_run.close()


@events.test_stop.add_listener
def _stopped(environment: Any, **_: Any) -> None:
    environment.shape_class.end()
