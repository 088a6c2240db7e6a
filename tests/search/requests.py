"""Sends requests under an Idempotency-Key, and checks the replies to repeats."""

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, NamedTuple
from uuid import uuid4

import httpx

from tests.replies import code
from tests.search.entities import Refusal
from tests.system import Person


class Sent(NamedTuple):
    """A request with its Idempotency-Key. `kept` means that each repeat returns the same reply."""

    person: Person
    method: str
    path: str
    body: Any
    headers: dict[str, str]
    reply: httpx.Response
    kept: bool
    again: Callable[[str], Awaitable[object]]

    @property
    def key(self) -> str:
        return self.headers["Idempotency-Key"]


class Requests:
    def __init__(self) -> None:
        self._sent: dict[str, Sent] = {}
        self._numbers = count()

    @property
    def sent(self) -> list[Sent]:
        """The newest request under each key."""
        return list(self._sent.values())

    def new_key(self) -> str:
        return f"key-{next(self._numbers)}"

    async def send(
        self,
        person: Person,
        method: str,
        path: str,
        body: Any = None,
        *,
        if_match: int | None = None,
        key: str | None = None,
        again: Callable[[str], Awaitable[object]] | None = None,
        kept: bool = False,
    ) -> httpx.Response:
        """Send and record a request under a key. `kept` includes refusals other than conflicts."""
        key = key or self.new_key()
        headers = {"Idempotency-Key": key}
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        reply = await person.http.request(method, path, json=body, headers=headers)
        kept = reply.is_success or (kept and reply.status_code != 409)
        self._sent[key] = Sent(person, method, path, body, headers, reply, kept, again or _never)
        return reply

    async def repeat(self, sent: Sent) -> None:
        """Repeat a request under its key: a kept reply must be byte for byte the same."""
        if not sent.kept:
            if sent.reply.status_code == 409:
                await sent.again(sent.key)
            return
        reply = await sent.person.http.request(
            sent.method, sent.path, json=sent.body, headers=sent.headers
        )
        assert (reply.status_code, reply.content) == (sent.reply.status_code, sent.reply.content)
        assert reply.headers["Idempotent-Replayed"] == "true"

    async def reuse_key(self, sent: Sent) -> None:
        """Send another request under the key of a kept reply, which must be refused."""
        assert sent.kept
        path = sent.path if sent.body is not None else f"{sent.path}?other=1"
        reply = await sent.person.http.request(
            sent.method, path, json=_another(sent.body), headers=sent.headers
        )
        assert code(reply) == (422, "idempotency_key_reused")


def accepted(reply: httpx.Response, status: int, refusals: set[Refusal]) -> bool:
    """Whether the request succeeded. Asserts that it did exactly when there was no refusal."""
    if refusals:
        assert not reply.is_success, (reply.text, refusals)
        assert code(reply) in refusals, (reply.text, refusals)
        return False
    assert reply.status_code == status, reply.text
    return True


def _another(body: Any) -> Any:
    """A different body."""
    match body:
        case None:
            return None
        case {"payment_method": _}:
            return body | {"payment_method": "pm_card_amex"}
        case {"tickets": tickets}:
            return {"tickets": 2 * tickets}
        case {"relist": relist}:
            return {"relist": not relist}
        case {"price": price}:
            return body | {"price": price + 1}
    return {"ticket_id": str(uuid4())}


async def _never(_key: str) -> None:
    raise AssertionError("this request is never refused for the moment")
