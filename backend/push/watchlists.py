"""Watchlists: a signed-in connection gets an event when a user that it names comes online or goes
offline.

A user is online while at least one connection to any gateway is signed in as that user, and for the
debounce after the last one. The state of all gateways counts these connections as it counts
subscriptions (cluster_script.py), under a name that no channel can have, and appends each change to
the push log, so every gateway sends it to its own watchers.

Bounded: a watchlist has up to MAX_USERS users.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec
import structlog

from backend.kernel.decoding import decode_json
from backend.push import protocol
from backend.push.channels import ChannelRegistry, Subscriber
from backend.push.cluster_script import ONLINE_PREFIX
from backend.push.metrics import MALFORMED

MAX_USERS: Final = 100
EVENTS: Final = "pusher_internal:watchlist_events"

log = structlog.get_logger()


class OnlineChange(msgspec.Struct, frozen=True):
    """A change of the push log."""

    user_id: str
    online: bool


class OnlineUsers(Protocol):
    async def online_users(self, user_ids: Sequence[str]) -> set[str]:
        """Return those of the users who are online at any gateway."""
        ...


class Watchlists:
    def __init__(self, registry: ChannelRegistry, users: OnlineUsers) -> None:
        self._registry = registry
        self._users = users
        self._watchers: dict[str, set[Subscriber]] = {}
        self._watched: dict[Subscriber, list[str]] = {}
        # The changes that arrive while the first state of a watcher is being read.
        self._arrived: dict[Subscriber, dict[str, bool]] = {}

    async def sign_in(self, subscriber: Subscriber, user_ids: list[str]) -> None:
        """Count a signed-in connection, and send it the state of the users that it watches, up to
        MAX_USERS. A later call replaces them.
        """
        self._count(subscriber)
        self._unwatch(subscriber)
        user_ids = user_ids[:MAX_USERS]
        if not user_ids:
            return
        self._watched[subscriber] = user_ids
        for user_id in user_ids:
            self._watchers.setdefault(user_id, set()).add(subscriber)
        arrived = self._arrived[subscriber] = {}
        try:
            online = await self._users.online_users(user_ids)
        finally:
            # A later sign-in has its own.
            if self._arrived.get(subscriber) is arrived:
                del self._arrived[subscriber]
        if self._watched.get(subscriber) is user_ids:
            states = {user_id: user_id in online for user_id in user_ids} | arrived
            subscriber.send(_events(states))

    def end(self, subscriber: Subscriber) -> None:
        """The connection is closed; the registry does not have it any more."""
        self._unwatch(subscriber)
        self._count(subscriber)

    def changed(self, data: str) -> None:
        """Send a change of the push log to its watchers."""
        try:
            change: OnlineChange = decode_json(data, OnlineChange)
        except msgspec.MsgspecError as error:
            MALFORMED.inc()
            log.warning("change of an online user malformed", error=str(error))
            return
        frame = _events({change.user_id: change.online})
        for subscriber in self._watchers.get(change.user_id, ()):
            if subscriber in self._arrived:
                self._arrived[subscriber][change.user_id] = change.online
            else:
                subscriber.send(frame)

    def _count(self, subscriber: Subscriber) -> None:
        if subscriber.user_id is not None:
            count = self._registry.signed_in(subscriber.user_id)
            self._registry.members.count(ONLINE_PREFIX + subscriber.user_id, count)

    def _unwatch(self, subscriber: Subscriber) -> None:
        for user_id in self._watched.pop(subscriber, ()):
            self._watchers[user_id].discard(subscriber)
            if not self._watchers[user_id]:
                del self._watchers[user_id]
        self._arrived.pop(subscriber, None)


def _events(states: dict[str, bool]) -> bytes:
    events: list[dict[str, Any]] = []
    for name, online in (("online", True), ("offline", False)):
        user_ids = _with_state(states, online=online)
        if user_ids:
            events.append({"name": name, "user_ids": user_ids})
    return protocol.json_frame(EVENTS, {"events": events})


def _with_state(states: dict[str, bool], *, online: bool) -> list[str]:
    return [user_id for user_id, is_online in states.items() if is_online is online]


def watched(watchlist: Any) -> list[str]:
    """The valid ids of a watchlist, as texts, each once."""
    items = watchlist if isinstance(watchlist, list) else []
    texts = dict.fromkeys(str(each) for each in items if isinstance(each, str | int))
    return [text for text in texts if protocol.is_user_id(text)]
