"""Publishes of the HTTP API with an `X-Idempotency-Key`: a repeated one appends nothing.

The script that appends the messages notes the key in the same step, with a digest of the request,
so no crash can separate the two. A key is known for SECONDS, as long as a signature is valid, and
while fewer than MAX_KEYS others are. When Redis loses its tail, keys are lost with the messages
that they stand for.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.push import push_log as pushlog
from backend.push.cache_script import STORE
from backend.push.push_log import STATE, STREAM, Message
from backend.push.push_log_backend import PushLogUnavailable, stored_events

HEADER: Final = "x-idempotency-key"
MAX_KEY_LENGTH: Final = 128
SECONDS: Final = 600
# About 150 bytes each in Redis.
MAX_KEYS: Final = 50_000
# The most that one call forgets, since Redis serves nobody else meanwhile.
FORGOTTEN_PER_CALL: Final = 100
REQUESTS: Final = "gittix:push:idempotency"
TIMES: Final = "gittix:push:idempotency:times"

# KEYS: stream, state, requests (hash: key, request), times (sorted set: key, Unix time in ms).
# ARGV: the number of messages, the messages, the key, the request, and the events to store
# (cache_script.py), if any.
# Returns an Outcome.
APPEND_ONCE: Final = (
    pushlog.APPEND_FUNCTIONS
    + STORE
    + f"""
local requests, times, key, request = KEYS[3], KEYS[4], ARGV[3], ARGV[4]
local function forget(keys)
  if #keys == 0 then return end
  redis.call('HDEL', requests, unpack(keys))
  redis.call('ZREM', times, unpack(keys))
end
local old = text(now - {SECONDS * 1_000})
forget(redis.call('ZRANGEBYSCORE', times, '-inf', old, 'LIMIT', 0, {FORGOTTEN_PER_CALL}))
local known_at = redis.call('ZSCORE', times, key)
if known_at and tonumber(known_at) > tonumber(old) then
  return redis.call('HGET', requests, key) == request and 1 or 2
end
append(tonumber(ARGV[1]), ARGV[2])
store(5, n - ARGV[1])
redis.call('HSET', requests, key, request)
redis.call('ZADD', times, text(now), key)
forget(redis.call('ZRANGE', times, 0, -{MAX_KEYS + 1}))
return 0
"""
)


class Outcome(IntEnum):
    APPENDED = 0
    REPEATED = 1
    # The key was used for another request.
    CONFLICT = 2


class IdempotentLog:
    def __init__(self, redis: Redis, *, timeout_seconds: float, cache_seconds: float) -> None:
        self._cache_seconds = cache_seconds
        self._script = redis.register_script(APPEND_ONCE)
        self._timeout = timeout_seconds

    async def append(self, key: str, request: bytes, messages: Sequence[Message]) -> Outcome:
        """Append all messages or none, unless this key is known. Raises PushLogUnavailable; then
        the messages may be appended, and a repetition with the key is safe.
        """
        arguments: list[int | str | bytes] = [len(messages), pushlog.pack(messages)]
        arguments += [_digest(key.encode()), _digest(request)]
        arguments += stored_events(messages, self._cache_seconds)
        try:
            async with asyncio.timeout(self._timeout):
                return Outcome(
                    await self._script(keys=[STREAM, STATE, REQUESTS, TIMES], args=arguments)
                )
        except (RedisError, OSError, TimeoutError) as error:
            raise PushLogUnavailable(str(error)) from error


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()
