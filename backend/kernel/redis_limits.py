"""Limits that all processes count together, in Redis.

One script decides and counts, on Redis's clock. While Redis is unavailable, slow or full, this
process counts alone by the same limits: an attacker then has them once for each process, and
never without a limit. Nothing is copied back when Redis returns.
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import structlog
from redis.asyncio import Redis

from backend.kernel.limits import DAY_SECONDS, Check, LocalCounters, Rate
from backend.kernel.redis import FAILURES, CircuitBreaker

log = structlog.get_logger()

# KEYS are the counts; ARGV has four numbers for each: the actions without a wait, the step and
# the longest wait in milliseconds (0: a Rate), and how long each action is kept. Returns 0, or the
# milliseconds to wait. The formulas are those of `limits`.
ADMIT = f"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local levels, wait = {{}}, 0
for i, key in ipairs(KEYS) do
  local free, step = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2])
  local longest, kept = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local count = redis.call('HMGET', key, 'level', 'at')
  local level = tonumber(count[1]) or 0
  local elapsed = math.max(0, now - (tonumber(count[2]) or now))
  if longest == 0 then
    level = math.max(0, level - elapsed / step)
    wait = math.max(wait, (level + 1 - free) * step)
  elseif elapsed >= math.min(level * kept, {DAY_SECONDS * 1000}) then
    level = 0
  elseif level >= free then
    wait = math.max(wait, math.min(longest, step * 2 ^ (level - free)) - elapsed)
  end
  levels[i] = level + 1
end
if wait > 0 then
  return math.ceil(wait)
end
for i, key in ipairs(KEYS) do
  local kept = math.min(levels[i] * ARGV[4 * i], {DAY_SECONDS * 1000})
  redis.call('HSET', key, 'level', levels[i], 'at', now)
  redis.call('PEXPIRE', key, math.ceil(kept))
end
return 0
"""
# The time of the last action stays, so that a running wait stays.
GIVE_BACK = """
for _, key in ipairs(KEYS) do
  local level = tonumber(redis.call('HGET', key, 'level') or 0)
  if level > 1 then
    redis.call('HSET', key, 'level', level - 1)
  else
    redis.call('DEL', key)
  end
end
"""


class Admission(NamedTuple):
    """`wait_seconds` is 0 for a counted action; `local` says that this process counted alone."""

    wait_seconds: float
    local: bool


class SharedCounters:
    """Counts under `prefix` in Redis. Never raises for a failure of Redis."""

    def __init__(self, redis: Redis, breaker: CircuitBreaker, prefix: str) -> None:
        self._redis = redis
        self._breaker = breaker
        self._prefix = prefix
        self._admit = redis.register_script(ADMIT)
        self._give_back = redis.register_script(GIVE_BACK)
        self._local = LocalCounters()

    async def admit(self, checks: Sequence[Check]) -> Admission:
        """Count an action under all checks, or none: see `LocalCounters.admit`."""
        arguments = [number for check in checks for number in _numbers(check)]
        try:
            wait = await self._breaker.call(
                lambda: self._admit(keys=self._keys(checks), args=arguments)
            )
        except FAILURES as error:
            log.warning("this process counts attempts alone: Redis failed", error=repr(error))
            return Admission(self._local.admit(checks), local=True)
        return Admission(int(wait) / 1000, local=False)

    async def give_back(
        self, admission: Admission, checks: Sequence[Check], *, cleared: Sequence[Check] = ()
    ) -> None:
        """Undo this admitted action of `checks`, and every action of `cleared`. While Redis fails,
        they stay counted.
        """
        self._local.clear(cleared)
        if admission.local:
            self._local.give_back(checks)
            return
        try:
            if cleared:
                await self._breaker.call(lambda: self._redis.delete(*self._keys(cleared)))
            if checks:
                await self._breaker.call(lambda: self._give_back(keys=self._keys(checks)))
        except FAILURES as error:
            log.warning("attempts stay counted: Redis failed", error=repr(error))

    def _keys(self, checks: Sequence[Check]) -> list[str]:
        return [f"{self._prefix}:{check}" for check in checks]


def _numbers(check: Check) -> tuple[int, ...]:
    """The arguments of ADMIT for one check."""
    limit = check.limit
    if isinstance(limit, Rate):
        return limit.burst, *_milliseconds(limit.step, 0.0, limit.step)
    return limit.free, *_milliseconds(limit.first, limit.longest, limit.longest)


def _milliseconds(*seconds: float) -> tuple[int, ...]:
    return tuple(ceil(each * 1000) for each in seconds)
