"""What locust costs a request: run as a process of its own, since it makes the standard library gevent's.

`python -m loadtests.bench.locusts URL` prints a row of JSON: a bare FastHttpUser, and our Person on top of it.
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

from loadtests.observed import Observed
from loadtests.people.person import Person

USERS = 50
SECONDS = 6.0


class Plain(FastHttpUser):
    @task
    def get(self) -> None:
        self.client.get("/", name="floor")


class Ours(Person):
    @task
    def get(self) -> None:
        self.ask("GET", "/", "floor")


def cost(user: type[FastHttpUser], url: str) -> dict[str, Any]:
    environment: Any = Environment(user_classes=[user], events=Events(), host=url)
    observed = Observed()
    environment.trial = SimpleNamespace(observed=observed)
    if issubclass(user, Person):
        environment.events.request.add_listener(observed.request)
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
                "our Person": cost(Ours, sys.argv[1]),
            }
        )
    )
