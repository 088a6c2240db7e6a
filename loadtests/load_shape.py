"""Locust's load shape of a scenario: the first stage's users arrive, it opens, runs and closes."""

import time

from locust import LoadTestShape

from loadtests.load_run import LoadRun
from loadtests.users.buyer import Buyer
from loadtests.users.seller import Seller
from loadtests.users.shopper import Shopper

USER_CLASSES = [Seller, Shopper, Buyer]
# A sign-up costs the target 25 ms of a core for Argon2; a session signed here costs it nothing.
LOCAL_SESSIONS_PER_SECOND = 200
SIGN_UPS_PER_SECOND = 20
PREPARE_SECONDS = 300

Tick = tuple[int, float] | None


class LoadShape(LoadTestShape):
    """`load_run` is set before the first tick."""

    # Hidden from locust's own command, which uses the shape of `locustfile`.
    abstract = True
    load_run: LoadRun | None = None

    def tick(self) -> Tick:
        load_run = self.load_run
        if load_run is None or load_run.closing.is_set():
            return None
        if not load_run.opened.is_set():
            return self._prepare(load_run)
        elapsed = time.monotonic() - load_run.opened_at
        for stage in load_run.scenario.stages:
            if elapsed < stage.seconds and not load_run.done:
                return _fixed_users(load_run) + stage.buyers, stage.arrive_per_second
            elapsed -= stage.seconds
        load_run.close()
        return None

    def _prepare(self, load_run: LoadRun) -> Tick:
        if load_run.present >= load_run.expected:
            load_run.open()
        elif load_run.attacks_over or self.get_run_time() > PREPARE_SECONDS:
            load_run.close()
            return None
        rate = LOCAL_SESSIONS_PER_SECOND if load_run.accounts.signs_locally else SIGN_UPS_PER_SECOND
        return load_run.expected, rate


def set_user_counts(load_run: LoadRun) -> None:
    """Set the fixed numbers of sellers and shoppers; all other users are buyers."""
    Seller.fixed_count = load_run.scenario.sellers.count
    Shopper.fixed_count = load_run.scenario.shoppers.count


def _fixed_users(load_run: LoadRun) -> int:
    return load_run.scenario.sellers.count + load_run.scenario.shoppers.count
