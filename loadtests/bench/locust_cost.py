"""The cost of a request by locust, in its own process: locust patches the standard library.

`python -m loadtests.bench.locust_cost URL` prints JSON: a bare FastHttpUser, and our BrowserUser.
"""

import json
import sys
import time
from types import SimpleNamespace
from typing import Any

import gevent
from locust import FastHttpUser, task
from locust.env import Environment
from locust.event import Events

from loadtests.measurements import Measurements
from loadtests.users.browser_user import BrowserUser

USERS = 50
SECONDS = 6.0


class Plain(FastHttpUser):
    @task
    def get(self) -> None:
        self.client.get("/", name="floor")


class Ours(BrowserUser):
    @task
    def get(self) -> None:
        self.fetch("GET", "/", "floor")


def cost(user: type[FastHttpUser], url: str) -> dict[str, Any]:
    environment: Any = Environment(user_classes=[user], events=Events(), host=url)
    measurements = Measurements()
    environment.load_run = SimpleNamespace(measurements=measurements)
    if issubclass(user, BrowserUser):
        environment.events.request.add_listener(measurements.request)
    runner = environment.create_local_runner()
    runner.start(USERS, USERS)
    gevent.sleep(1)
    began, worked, before = (
        time.perf_counter(),
        time.process_time(),
        environment.stats.total.num_requests,
    )
    gevent.sleep(SECONDS)
    requests = environment.stats.total.num_requests - before
    row = {
        "per second": round(requests / (time.perf_counter() - began)),
        "generator's own, µs": round((time.process_time() - worked) / requests * 1e6),
        "failures": environment.stats.total.num_failures,
    }
    runner.quit()
    return row


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "locust's FastHttpUser": cost(Plain, sys.argv[1]),
                "our BrowserUser": cost(Ours, sys.argv[1]),
            }
        )
    )
