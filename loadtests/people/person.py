"""A visitor with a browser: one connection pool, one cookie jar, and the patience of a person."""

import random
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
from locust import FastHttpUser
from locust.exception import StopUser

from loadtests.scenario import Span
from loadtests.trial import Trial

# Access tokens live 300 seconds.
RENEW_SECONDS = 200.0


class Reply(NamedTuple):
    status: int
    body: Any


class Person(FastHttpUser):
    """`environment.trial` is the run that this person is in."""

    abstract = True
    insecure = False
    network_timeout = 30.0
    connection_timeout = 30.0

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.trial: Trial = environment.trial
        self._headers: Mapping[str, str] = {}
        self._renew_at = float("inf")
        self.user_id = ""

    def ask(
        self,
        method: str,
        path: str,
        name: str,
        *,
        body: object = None,
        form: str | None = None,
        expected: Collection[int] = (200,),
        names: Mapping[int, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """A request under its name in the statistics, which may depend on the reply's status. What is not expected is a fault."""
        if time.monotonic() > self._renew_at:
            self._renew_at = float("inf")
            self.ask("POST", "/api/users/refresh", "refresh")
            self._renew_at = time.monotonic() + RENEW_SECONDS
        sent = {**self._headers, **(headers or {})}
        data: str | None = None
        if form is not None:
            sent["Content-Type"], data = "application/x-www-form-urlencoded", form
        elif body is not None:
            sent["Content-Type"], data = "application/json", msgspec.json.encode(body).decode()
        with self.client.request(
            method, path, name=name, data=data, headers=sent, catch_response=True
        ) as response:
            status = response.status_code
            content = response.content or b""
            if names and status in names:
                response.request_meta["name"] = names[status]
            if status in expected:
                response.success()
            elif status:
                response.failure(f"{status} {content[:200].decode(errors='replace')}")
            return Reply(
                status, msgspec.json.decode(content) if content[:1] in (b"{", b"[") else None
            )

    def write(self, method: str, path: str, name: str, **more: Any) -> Reply:
        """A change, repeatable by its key."""
        return self.ask(method, path, name, headers={"Idempotency-Key": uuid4().hex}, **more)

    def sign_in(self) -> None:
        """As a new person."""
        self.client.cookiejar.clear()
        if self.trial.accounts.signed_here:
            self._headers = self.trial.accounts.session()
        else:
            self.sign_up()

    def sign_up(self) -> None:
        credentials = self.trial.accounts.credentials()
        reply = self.ask("POST", "/api/users/signup", "sign up", body=credentials, expected=(201,))
        if reply.status != 201:
            # Nothing that this person was to do can be done.
            raise StopUser
        self.user_id = reply.body["current_user"]["id"]
        self._renew_at = time.monotonic() + RENEW_SECONDS

    def wait_for_doors(self) -> None:
        self.trial.opened.wait()

    def pause(self, seconds: Span) -> None:
        """Think. When the run is over nobody thinks on."""
        if self.trial.closing.wait(random.uniform(*seconds)):
            raise StopUser
