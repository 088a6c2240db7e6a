"""Looks around without an account, and keeps one show's page open, live over a socket."""

import random

from locust import task

from loadtests.people.person import Person


class Shopper(Person):
    def wait_time(self) -> float:
        return random.uniform(*self.trial.scenario.shoppers.think_seconds)

    def on_start(self) -> None:
        self.trial.listed.wait()
        self._show_id = random.choice(self.trial.board.shows)
        self.trial.watch.show(self._show_id)
        self.trial.arrive()
        self.wait_for_doors()
        self.pause((0, self.trial.scenario.shoppers.think_seconds[1]))

    @task(3)
    def browse(self) -> None:
        self.ask("GET", "/api/shows?limit=20", "browse shows")

    @task(1)
    def search(self) -> None:
        self.ask("GET", "/api/shows?q=load&limit=20", "search shows")

    @task(4)
    def look(self) -> None:
        self.ask("GET", f"/api/shows/{self._show_id}", "read a show")
        self.ask("GET", f"/api/tickets?show_id={self._show_id}&limit=100", "read tickets")
