"""Cache channels: a new subscriber gets the last event that the HTTP API triggered there.

The script that appends an event to the push log stores it in the same step, so every gateway has
it. A hash has the events by channel, a sorted set their ends; field `''` of the hash counts its
bytes. Both are bounded: the event that was stored first is dropped first. Events of clients are
never stored.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.push import protocol
from backend.push.cache_script import CACHE
from backend.push.channels import ChannelRegistry, Subscriber
from backend.push.cluster_script import FACTS, MAX_FACTS
from backend.push.replay_state import Held
from backend.push.settings import GatewaySettings

CACHE_MISS: Final = "pusher:cache_miss"
# Channels whose miss was recorded in the last seconds.
MISSES: Final = "gittix:push:cache-misses"
MISS_MS: Final = 10_000
MAX_MISSES: Final = 10_000

# KEYS: the cache, the misses, the facts. ARGV: the channel, and 1 to record a miss, which is done
# once in MISS_MS. Returns the number of the event's message, the ms until its end, and its content.
_READ: Final = f"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local value = redis.call('HGET', KEYS[1], ARGV[1])
if value then
  local ends, number, at = value:match('^(%d+) (%d+) ()')
  if tonumber(ends) > now then
    return {{number, string.format('%.0f', ends - now), value:sub(at)}}
  end
end
if ARGV[2] == '1' then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - {MISS_MS})
  if redis.call('ZADD', KEYS[2], 'NX', now, ARGV[1]) == 1 then
    redis.call('ZREMRANGEBYRANK', KEYS[2], 0, {-MAX_MISSES - 1})
    redis.call('PEXPIRE', KEYS[2], {MISS_MS})
    redis.call(
      'XADD', KEYS[3], 'MAXLEN', '~', '{MAX_FACTS}', '*',
      'name', 'cache_miss', 'channel', ARGV[1]
    )
  end
end
return false
"""

log = structlog.get_logger()


class CachedEvent(NamedTuple):
    """`number` is that of its message in the push log."""

    number: int
    milliseconds_left: int
    event: str
    data: str


class Caches:
    """Reads the events of cache channels, and sends them to new subscribers."""

    def __init__(
        self,
        redis: Redis,
        registry: ChannelRegistry,
        settings: GatewaySettings,
        until_sessions_are_known: Callable[[], Awaitable[None]],
    ) -> None:
        self._until_sessions_are_known = until_sessions_are_known
        self._script = redis.register_script(_READ)
        self._registry = registry
        self._settings = settings
        # The number of the last message of the push log whose delivery has begun.
        self.delivered = 0

    async def read(self, name: str, *, records_miss: bool = False) -> CachedEvent | None:
        """Return a channel's event. Raises RedisError, OSError or TimeoutError.

        `records_miss` records that a subscriber found none, for the webhook.
        """
        async with asyncio.timeout(self._settings.redis_timeout_seconds):
            found: Any = await self._script(
                keys=[CACHE, MISSES, FACTS], args=[name, int(records_miss)]
            )
        if found is None:
            return None
        number, left, content = found
        event, data = msgspec.msgpack.decode(content, type=tuple[str, str])
        return CachedEvent(int(number), int(left), event, data)

    async def send(self, subscriber: Subscriber, name: str) -> None:
        """Send a new subscriber the channel's event, or that there is none; then later messages.

        Call this before anything is awaited after the subscription. The channel's messages are held
        meanwhile.
        """
        channel = self._registry.channel(name)
        if channel is None or subscriber not in channel.subscribers:
            return
        channel.hold(subscriber, Held(self._settings))
        delivered = self.delivered
        try:
            found = await self.read(name, records_miss=self._settings.record_facts)
        except (RedisError, OSError, TimeoutError) as error:
            # The client then gets the state from its own server.
            log.warning("cached event cannot be read", channel=name, error=repr(error))
            found = None
        await self._until_sessions_are_known()
        if channel.holding.get(subscriber) is None:
            return
        if found is None:
            subscriber.send(protocol.frame(CACHE_MISS, "{}", name))
        elif found.number <= delivered:
            subscriber.send(protocol.frame(found.event, found.data, name))
        # Else the event is among the held ones, or follows them.
        for frame in channel.release(subscriber):
            subscriber.send(frame)
