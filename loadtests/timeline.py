"""Locust's shape of a scenario: everybody of the first stage comes, the doors open, the stages pass, the doors close."""

import time

from locust import LoadTestShape

from loadtests.people.buyer import Buyer
from loadtests.people.seller import Seller
from loadtests.people.shopper import Shopper
from loadtests.trial import Trial

PEOPLE = [Seller, Shopper, Buyer]
# A sign-up costs Argon2 25 ms of a core of the system; a session that is signed here costs nobody anything.
SIGNED_HERE_PER_SECOND = 200
SIGN_UPS_PER_SECOND = 20
PREPARE_SECONDS = 300

Tick = tuple[int, float] | None


class Timeline(LoadTestShape):
    """`trial` is set before it is asked."""

    # Not for locust's command to find: that has a shape of its own, which makes the trial as well.
    abstract = True
    trial: Trial | None = None

    def tick(self) -> Tick:
        trial = self.trial
        if trial is None or trial.closing.is_set():
            return None
        if not trial.opened.is_set():
            return self._prepare(trial)
        elapsed = time.monotonic() - trial.opened_at
        for stage in trial.scenario.stages:
            if elapsed < stage.seconds and not trial.done:
                return _steady(trial) + stage.buyers, stage.arrive_per_second
            elapsed -= stage.seconds
        trial.close()
        return None

    def _prepare(self, trial: Trial) -> Tick:
        if trial.present >= trial.expected:
            trial.open()
        elif self.get_run_time() > PREPARE_SECONDS:
            trial.close()
            return None
        rate = SIGNED_HERE_PER_SECOND if trial.accounts.signed_here else SIGN_UPS_PER_SECOND
        return trial.expected, rate


def cast(trial: Trial) -> None:
    """Sellers and shoppers are there throughout; whom a stage has more are buyers."""
    Seller.fixed_count = trial.scenario.sellers.count
    Shopper.fixed_count = trial.scenario.shoppers.count


def _steady(trial: Trial) -> int:
    return trial.scenario.sellers.count + trial.scenario.shoppers.count
