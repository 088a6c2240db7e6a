"""A user without an account: browses, and has one show's page open with a socket."""

import random

from locust import task

from loadtests.users.browser_user import BrowserUser


class Shopper(BrowserUser):
    def wait_time(self) -> float:
        return random.uniform(*self.load_run.scenario.shoppers.think_seconds)

    def on_start(self) -> None:
        self.load_run.listed.wait()
        self._show_id = random.choice(self.load_run.market.shows)
        self.load_run.monitor.show(self._show_id)
        self.load_run.arrive()
        self.wait_for_opening()
        self.pause((0, self.load_run.scenario.shoppers.think_seconds[1]))

    @task(3)
    def browse(self) -> None:
        self.fetch("GET", "/api/shows?limit=20", "browse shows")

    @task(1)
    def search(self) -> None:
        self.fetch("GET", "/api/shows?q=load&limit=20", "search shows")

    @task(4)
    def read_show(self) -> None:
        self.fetch("GET", f"/api/shows/{self._show_id}", "read a show")
        self.fetch("GET", f"/api/tickets?show_id={self._show_id}&limit=100", "read tickets")
