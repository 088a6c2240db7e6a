"""A user with a browser: one connection pool, one cookie jar, a person's pauses.

In a siege each user has an address of its own.
"""

import random
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
from locust import FastHttpUser
from locust.exception import StopUser

from loadtests.load_run import LoadRun
from loadtests.scenario import Span
from loadtests.users.source_address import ClientsOfAddress, address_of

# Access tokens live 300 seconds.
RENEW_SECONDS = 200.0


class Reply(NamedTuple):
    status: int
    body: Any


class BrowserUser(FastHttpUser):
    """Belongs to the run `environment.load_run`."""

    abstract = True
    insecure = False
    network_timeout = 30.0
    connection_timeout = 30.0

    def __init__(self, environment: Any) -> None:
        self.load_run: LoadRun = environment.load_run
        if self.load_run.scenario.siege is not None:
            # The target limits rates.
            self.client_pool = ClientsOfAddress(
                address_of(next(self.load_run.user_numbers)),
                network_timeout=self.network_timeout,
                connection_timeout=self.connection_timeout,
            )
        super().__init__(environment)
        self._headers: Mapping[str, str] = {}
        self._renew_at = float("inf")
        self.user_id = ""

    def fetch(
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
        """Send a request. Any status outside `expected` counts as an error.

        The request's name in the statistics is `name`, or that of its status in `names`.
        """
        if time.monotonic() > self._renew_at:
            self._renew_at = float("inf")
            self.fetch("POST", "/api/users/refresh", "refresh")
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

    def change(self, method: str, path: str, name: str, **more: Any) -> Reply:
        """Send a request with an idempotency key."""
        return self.fetch(method, path, name, headers={"Idempotency-Key": uuid4().hex}, **more)

    def sign_in(self) -> None:
        """Sign in as a new user."""
        self.client.cookiejar.clear()
        if self.load_run.accounts.signs_locally:
            self._headers = self.load_run.accounts.session()
        else:
            self.sign_up()

    def sign_up(self) -> None:
        credentials = self.load_run.accounts.credentials()
        reply = self.fetch(
            "POST", "/api/users/signup", "sign up", body=credentials, expected=(201,)
        )
        if reply.status != 201:
            # Without an account, this user can do nothing else.
            raise StopUser
        self.user_id = reply.body["current_user"]["id"]
        self._renew_at = time.monotonic() + RENEW_SECONDS

    def wait_for_opening(self) -> None:
        self.load_run.opened.wait()

    def pause(self, seconds: Span) -> None:
        """Wait for a random time. Raises StopUser when the run is over."""
        if self.load_run.closing.wait(random.uniform(*seconds)):
            raise StopUser
