"""The part of the append script that stores the events of cache channels: see cache.py."""

from typing import Final

CACHE: Final = "gittix:push:cache"
ENDS: Final = "gittix:push:cache-ends"
MAX_CHANNELS: Final = 10_000
MAX_BYTES: Final = 16 * 1_048_576
# The bytes of an event beside its content and its channel's name.
EVENT_BYTES: Final = 200
# Ended events that one call removes.
ENDED_PER_CALL: Final = 20

# Part of the script that appends, which defines `now` and `text`. From ARGV[first]: the lifetime
# in ms, then for each stored event its message's place in the call, its channel and its content.
# `before` is the log's number before the call.
STORE: Final = f"""
local function store(first, before)
  if not ARGV[first] then return end
  local lifetime = tonumber(ARGV[first])
  local bytes = tonumber(redis.call('HGET', '{CACHE}', '') or 0)
  local function drop(channel)
    local size = redis.call('HSTRLEN', '{CACHE}', channel)
    if size > 0 then bytes = bytes - size - 2 * #channel - {EVENT_BYTES} end
    redis.call('HDEL', '{CACHE}', channel)
    redis.call('ZREM', '{ENDS}', channel)
  end
  for at = first + 1, #ARGV, 3 do
    local channel = ARGV[at + 1]
    drop(channel)
    local value = text(now + lifetime) .. ' ' .. text(before + ARGV[at]) .. ' ' .. ARGV[at + 2]
    redis.call('HSET', '{CACHE}', channel, value)
    redis.call('ZADD', '{ENDS}', now + lifetime, channel)
    bytes = bytes + #value + 2 * #channel + {EVENT_BYTES}
  end
  local ended = redis.call('ZRANGEBYSCORE', '{ENDS}', '-inf', now, 'LIMIT', 0, {ENDED_PER_CALL})
  for _, channel in ipairs(ended) do drop(channel) end
  while bytes > {MAX_BYTES} or redis.call('ZCARD', '{ENDS}') > {MAX_CHANNELS} do
    local oldest = redis.call('ZRANGE', '{ENDS}', 0, 0)
    if #oldest == 0 then break end
    drop(oldest[1])
  end
  redis.call('HSET', '{CACHE}', '', text(bytes))
  redis.call('PEXPIRE', '{CACHE}', lifetime)
  redis.call('PEXPIRE', '{ENDS}', lifetime)
end
"""
