"""This gateway among all gateways: reports what it holds to Redis, and reads what all hold.

One call is under way at a time, and has all that changed since the last one: a rush of
subscriptions is a few calls. The same call renews the lease, ends those of other gateways that ran
out, and settles what is due. Every call is timed out. While Redis does not answer, the gateway
serves its clients with what it knows itself.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, cast

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.kernel.supervisor import heartbeat
from backend.push.channels import ChannelRegistry
from backend.push.cluster_script import CHANNELS, EXCHANGE, MEMBERS_PREFIX, ONLINE_PREFIX
from backend.push.members import Batch, Raw, Roster
from backend.push.metrics import CLUSTER_CALLS, REGISTRATIONS
from backend.push.push_log import STATE, STREAM
from backend.push.settings import GatewaySettings

TASK: Final = "push-cluster"
# Changes for which no client waits are collected for this long.
TURN_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 0.5
# Renewals within a lease, and the longest time between two.
RENEWALS: Final = 5
MAX_RENEWAL_SECONDS: Final = 1.0
# Calls that a gateway makes at its end.
LAST_CALLS: Final = 20
# Names of one read of attributes, and of one step of a scan.
NAMES_PER_CALL: Final = 500
_PREFIX: Final = re.compile(r"[A-Za-z0-9_\-=@,.;#]*")

log = structlog.get_logger()


class RegistrationLost(Exception):
    """Redis does not know this gateway, or lost a call that it acknowledged."""


class ChannelState(NamedTuple):
    """A channel over all gateways. It stays occupied for the debounce after its last client."""

    is_occupied: bool
    subscriptions: int
    users: int


class ClusterSync:
    def __init__(self, redis: Redis, registry: ChannelRegistry, settings: GatewaySettings) -> None:
        self._redis = redis
        self._exchange = redis.register_script(EXCHANGE)
        self._registry = registry
        self._members = registry.members
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._id = _new_id()
        self._replaced = ""
        self._call = 0
        self._acknowledged = 0
        self._born = b""
        self._due_at = float("-inf")
        self._read_after: list[asyncio.Future[None]] = []
        self._has_warned = False

    async def start(self) -> None:
        """Try once to register, before the first client connects."""
        await self.turn()

    async def run(self) -> None:
        while True:
            await self._pause()
            heartbeat(TASK)
            await self.turn()

    async def stop(self) -> None:
        """Report the end of the last connections, and end the registration."""
        for _ in range(LAST_CALLS):
            if not self._members.has_reports or not await self.turn():
                break
        with suppress(RegistrationLost, RedisError, OSError, TimeoutError):
            await self._report(Batch(), is_last=True)

    async def turn(self) -> bool:
        """Make one call. Returns whether Redis has the reports; never raises for an outage."""
        batch = self._members.take()
        readers, self._read_after = self._read_after, []
        try:
            await self._report(batch)
        except RegistrationLost:
            self._register_again(batch)
            return False
        except (RedisError, OSError, TimeoutError) as error:
            self._fail(batch, error)
            return False
        except asyncio.CancelledError:
            self._members.failed(batch)
            raise
        finally:
            for reader in readers:
                if not reader.done():
                    reader.set_result(None)
        return True

    async def channel(self, name: str) -> ChannelState:
        return (await self.channels_of([name]))[name]

    async def channels_of(self, names: Iterable[str]) -> dict[str, ChannelState]:
        """Return the state of these channels."""
        names = list(names)
        await self._reported()
        found: list[Any] = [None, 0] * len(names)
        if self._members.online:
            with suppress(RedisError, OSError, TimeoutError):
                found = await self._read_states(names)
        return {
            name: self._state(name, found[2 * at], found[2 * at + 1])
            for at, name in enumerate(names)
        }

    async def occupied(self, prefix: str) -> list[str]:
        """Return the occupied channels with this prefix."""
        await self._reported()
        names = {channel.name for channel in self._registry.occupied(prefix)}
        if self._members.online and _PREFIX.fullmatch(prefix):
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(self._settings.redis_timeout_seconds):
                    scan = self._redis.hscan_iter(CHANNELS, f"{prefix}*", NAMES_PER_CALL)
                    names |= {name.decode() async for name, _ in scan}
        return sorted(name for name in names if not name.startswith(ONLINE_PREFIX))

    async def online_users(self, user_ids: Sequence[str]) -> set[str]:
        """Return those of the users who are signed in at any gateway, up to the debounce ago."""
        await self._reported()
        here = {user_id for user_id in user_ids if self._registry.signed_in(user_id)}
        if self._members.online:
            names = [ONLINE_PREFIX + user_id for user_id in user_ids]
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(self._settings.redis_timeout_seconds):
                    counts = await cast(
                        Awaitable[list[bytes | None]], self._redis.hmget(CHANNELS, names)
                    )
                    pairs = zip(user_ids, counts, strict=True)
                    return here | {user_id for user_id, count in pairs if count is not None}
        return here

    async def user_ids(self, channel: str) -> list[str]:
        """Return the members of a presence channel."""
        await self._reported()
        if self._members.online:
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(self._settings.redis_timeout_seconds):
                    keys = cast(Awaitable[list[bytes]], self._redis.hkeys(MEMBERS_PREFIX + channel))
                    return sorted(key.decode() for key in await keys if key)
        return sorted(self._members.user_ids(channel))

    def _state(self, name: str, subscriptions: bytes | None, fields: int) -> ChannelState:
        here = self._registry.subscriptions(name)
        if not self._members.online:
            users = len(self._members.user_ids(name))
            return ChannelState(here > 0, here, users)
        # A gateway beyond its bound on channels does not report all of them.
        total = max(here, int(subscriptions or 0))
        return ChannelState(subscriptions is not None or here > 0, total, max(0, fields - 1))

    async def _read_states(self, names: list[str]) -> list[Any]:
        found: list[Any] = []
        async with asyncio.timeout(self._settings.redis_timeout_seconds):
            for start in range(0, len(names), NAMES_PER_CALL):
                # Not a transaction: a full Redis refuses those.
                pipeline = self._redis.pipeline(transaction=False)
                for name in names[start : start + NAMES_PER_CALL]:
                    pipeline.hget(CHANNELS, name)
                    pipeline.hlen(MEMBERS_PREFIX + name)
                found += await pipeline.execute()
        return found

    async def _reported(self) -> None:
        """Wait until Redis has what this gateway holds now."""
        if not self._members.online or not self._members.has_reports:
            return
        reader: asyncio.Future[None] = self._loop.create_future()
        self._read_after.append(reader)
        self._members.urgent.set()
        self._members.stirred.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.redis_timeout_seconds):
                await reader

    async def _pause(self) -> None:
        """Wait until a client waits, changes were collected for a turn, or something is due."""
        members = self._members
        due_at = min(self._due_at, members.due_at())
        await _wait(members.stirred, due_at)
        if members.online:
            await _wait(members.urgent, min(due_at, self._loop.time() + TURN_SECONDS))
        else:
            await asyncio.sleep(self._due_at - self._loop.time())

    async def _report(self, batch: Batch, *, is_last: bool = False) -> None:
        """Make a call and hand its reply to the members."""
        settings = self._settings
        self._call += 1
        replaced = "" if self._members.has_reports else self._replaced
        arguments: list[str | int | bytes] = [
            self._id,
            self._call,
            self._acknowledged,
            _ms(settings.lease_seconds),
            _ms(settings.debounce_seconds),
            settings.max_presence_members,
            int(settings.subscription_counts),
            int(settings.record_facts),
            self._born,
            # Only when everything is reported under the new id.
            replaced,
            int(is_last),
            msgspec.msgpack.encode(batch.reports),
        ]
        number = self._call
        async with asyncio.timeout(settings.redis_timeout_seconds):
            reply = await self._exchange(keys=[STREAM, STATE], args=arguments)
        if reply[0] == 0:
            raise RegistrationLost
        _, refused, rosters, wait, born = reply
        CLUSTER_CALLS.labels(outcome="answered").inc()
        self._has_warned = False
        self._acknowledged = number
        if replaced == self._replaced:
            # What is known of an older log is known until all of it is reported again.
            self._replaced, self._born = "", born
        renewal = min(MAX_RENEWAL_SECONDS, settings.lease_seconds / RENEWALS)
        self._due_at = self._loop.time() + min(int(wait) / 1_000, renewal)
        texts = [text.decode() for text in refused]
        self._members.accepted(
            batch,
            zip(texts[::2], texts[1::2], strict=True),
            {fields[0].decode(): _roster(fields) for fields in rosters},
        )

    def _fail(self, batch: Batch, error: Exception) -> None:
        CLUSTER_CALLS.labels(outcome="failed").inc()
        if not self._has_warned:
            self._has_warned = True
            log.warning("members and counts are those of this gateway only", error=repr(error))
        self._members.failed(batch)
        self._due_at = self._loop.time() + RETRY_SECONDS

    def _register_again(self, batch: Batch) -> None:
        """Register under a new id: what Redis has of the old one is unknown."""
        REGISTRATIONS.inc()
        log.warning("this gateway registers again", gateway=self._id)
        was_online = self._members.online
        self._members.failed(batch)
        self._members.online = was_online
        self._members.report_all()
        self._id, self._replaced = _new_id(), self._id
        self._call = self._acknowledged = 0
        self._due_at = self._loop.time()


async def _wait(event: asyncio.Event, until: float) -> None:
    """Wait for an event until this time of the event loop."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            await event.wait()


def _new_id() -> str:
    return secrets.token_hex(8)


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)


def _roster(fields: list[bytes]) -> Roster:
    """Return the roster of {channel, version, user, user_info, ...}."""
    return Roster(
        int(fields[1]),
        {user.decode(): Raw(info) for user, info in zip(fields[2::2], fields[3::2], strict=True)},
    )
