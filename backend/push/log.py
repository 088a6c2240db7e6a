"""The push log in Redis: its keys, its entries and the scripts that append to it.

`gittix:push` is one stream that every gateway reads. It is a broadcast log, not a store: a gateway reads it within
milliseconds and after an outage of its own or of Redis within seconds, so it is cut at a minute of age and, against
a flood, at 100,000 entries; a reader that was away for longer sees the jump in `n` and sends its clients back to resume.
Every entry carries `n`, which grows by one over all entries; `gittix:push:state` holds that counter, when the log
was born, and what the notifier has published. Channel counters are hashes of their own, epoch beside seq, so that one
can be forgotten and come back under another epoch.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

STREAM: Final = "gittix:push"
STATE: Final = "gittix:push:state"
CHANNEL_PREFIX: Final = "gittix:push:channel:"
ONCE_PREFIX: Final = "gittix:push:once:"
RETENTION_MS: Final = 60_000
# A channel's counter outlives every client that could still ask for what it missed.
CHANNEL_SECONDS: Final = 86_400
# A mark outlives every copy of what it stands for.
ONCE_SECONDS: Final = 14 * 86_400
MAX_LENGTH: Final = 100_000
# Appends beyond this wait for a connection: Redis runs one script at a time anyway.
MAX_CONNECTIONS: Final = 16

# Entry fields: n, c(hannels, a space between), e(vent), d(ata), x (excluded socket), u(ser id), k(ey), v(ersion);
# t (user whose connections to terminate) stands alone.
_APPEND: Final = f"""
local stream, state = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
redis.call('HSETNX', state, 'born', time[1] .. string.format('%06d', time[2]) .. '000')
local n = tonumber(redis.call('HGET', state, 'n') or 0)
local function append(fields)
  n = n + 1
  redis.call('XADD', stream, '*', 'n', text(n), unpack(fields))
end
local function close()
  redis.call('HSET', state, 'n', text(n))
  redis.call('XTRIM', stream, 'MINID', '~', text(now - {RETENTION_MS}))
  redis.call('XTRIM', stream, 'MAXLEN', '~', {MAX_LENGTH})
end
"""

# ARGV: for each entry the number of its strings, then the strings.
APPEND: Final = (
    _APPEND
    + """
local at = 1
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  append({unpack(ARGV, at + 1, at + count)})
  at = at + count + 1
end
close()
"""
)

# KEYS from `first_key` on are the channel hash of each message; ARGV has channel, event, data, key and version of each.
# A smaller count than expected means that Redis lost its tail: seqs would repeat, so a new epoch begins first.
_MESSAGES: Final = (
    _APPEND
    + """
local function known(field) return tonumber(redis.call('HGET', state, field) or 0) end
local epoch, appended, recorded = known('epoch'), known('appended'), known('position')

local function begin_epoch(expected, lowest)
  if epoch == 0 or appended < expected then
    epoch = math.max(math.max(epoch, lowest) + 1, now)
    appended = math.max(appended, expected)
  end
end
local function stamp(data, seq)
  local head = '{"_epoch":' .. text(epoch) .. ',"_seq":' .. text(seq)
  if data == '{}' then return head .. '}' end
  return head .. ',' .. string.sub(data, 2)
end
-- Each channel is read once and written once, however many messages it gets here.
-- One that is forgotten, or new, starts at n: no seq of it in this epoch can have been as high.
local seqs = {}
local function next_seq(key)
  local seq = seqs[key]
  if not seq then
    local had = redis.call('HMGET', key, 'epoch', 'seq')
    seq = tonumber(had[1] or 0) == epoch and tonumber(had[2]) or n
  end
  seqs[key] = seq + 1
  return seq + 1
end
local function append_messages(first_key, first_arg, count)
  for i = 0, count - 1 do
    local at = first_arg + i * 5
    local fields = {'c', ARGV[at], 'e', ARGV[at + 1], 'd', stamp(ARGV[at + 2], next_seq(KEYS[first_key + i]))}
    if ARGV[at + 3] ~= '' then fields[7], fields[8] = 'k', ARGV[at + 3] end
    if ARGV[at + 4] ~= '' then
      fields[#fields + 1] = 'v'
      fields[#fields + 1] = ARGV[at + 4]
    end
    append(fields)
  end
  appended = appended + count
end
local function save()
  for key, seq in pairs(seqs) do
    redis.call('HSET', key, 'epoch', text(epoch), 'seq', text(seq))
    redis.call('EXPIRE', key, """
    + str(CHANNEL_SECONDS)
    + """)
  end
  redis.call('HSET', state, 'epoch', text(epoch), 'appended', text(appended), 'position', text(recorded))
  close()
end
"""
)

# KEYS: stream, state, then the channel hash of each message.
# ARGV: expected appended, lowest epoch; then of each place its position, how many messages it has, and these.
PUBLISH: Final = (
    _MESSAGES
    + """
local key, at, changed = 3, 3, false
while at <= #ARGV do
  local position, count = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  if position > recorded then
    begin_epoch(tonumber(ARGV[1]), tonumber(ARGV[2]))
    append_messages(key, at + 2, count)
    recorded, changed = position, true
  end
  key, at = key + count, at + 2 + 5 * count
end
if changed then save() end
return {epoch, appended, recorded}
"""
)

# KEYS: stream, state, the mark, then the channel hash of each message.
# ARGV: expected appended, lowest epoch, seconds to keep the mark; then the messages.
# After a lost tail nobody can tell whether the mark was lost with it: nothing is appended, and the last number is 0.
PUBLISH_ONCE: Final = (
    _MESSAGES
    + """
if appended < tonumber(ARGV[1]) then return {epoch, appended, recorded, 0} end
if redis.call('SET', KEYS[3], '1', 'NX', 'EX', ARGV[3]) then
  begin_epoch(tonumber(ARGV[1]), tonumber(ARGV[2]))
  append_messages(4, 4, #KEYS - 3)
  save()
end
return {epoch, appended, recorded, 1}
"""
)


class Entry(msgspec.Struct, frozen=True):
    """One entry as the gateway reads it."""

    id: str
    number: int | None
    channels: tuple[str, ...]
    event: str
    data: str
    excluded: str | None = None
    user_id: str | None = None
    terminated_user: str | None = None

    @property
    def appended_ms(self) -> int:
        return int(self.id.partition("-")[0])


def read_entry(id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    """Raises ValueError for bytes or numbers that no appender of ours writes."""
    text = {name: value.decode() for name, value in fields.items()}
    number = text.get(b"n")
    return Entry(
        id=id.decode(),
        number=int(number) if number is not None else None,
        channels=tuple(text.get(b"c", "").split()),
        event=text.get(b"e", ""),
        data=text.get(b"d", ""),
        excluded=text.get(b"x"),
        user_id=text.get(b"u"),
        terminated_user=text.get(b"t"),
    )


def message_fields(
    channels: tuple[str, ...], event: str, data: str, excluded: str | None = None, user_id: str | None = None
) -> list[str]:
    fields = ["c", " ".join(channels), "e", event, "d", data]
    if excluded is not None:
        fields += ["x", excluded]
    if user_id is not None:
        fields += ["u", user_id]
    return fields


def termination_fields(user_id: str) -> list[str]:
    return ["t", user_id]


def is_before(id: str, other: str) -> bool:
    return _parts(id) < _parts(other)


def _parts(id: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)-(\d+)", id)
    if found is None:
        raise ValueError(f"not a stream id: {id!r}")
    return int(found[1]), int(found[2])


def connect(url: str, *, timeout_seconds: float) -> Redis:
    """A client that never repeats a command by itself: an append that timed out may have happened."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)
