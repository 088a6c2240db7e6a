"""The push log in Redis: its keys, its entries and the scripts that append to it.

`gittix:push` is one stream that every gateway reads. It is a broadcast log, not a store: a gateway reads it within
milliseconds and after an outage of its own or of Redis within seconds, so it is cut at a minute of age and, against
a flood, at 100,000 entries; a reader that was away for longer sees the jump in `n` and sends its clients back to resume.
Every entry carries `n`, which grows by one over all entries; `gittix:push:state` holds that counter, when the log
was born, and what the notifier has published. The numbers within channels stand in one hash for each epoch and day, so that
a call reads and writes all of its channels' at once, and those that fell silent are forgotten.
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
SEQS_PREFIX: Final = "gittix:push:seqs:"
ONCE_PREFIX: Final = "gittix:push:once:"
RETENTION_MS: Final = 60_000
# A channel's number outlives every client that could still ask for what it missed: it is found on its day and the next.
DAY_SECONDS: Final = 86_400
# A mark outlives every copy of what it stands for.
ONCE_SECONDS: Final = 14 * 86_400
MAX_LENGTH: Final = 100_000
# Appends beyond this wait for a connection: Redis runs one script at a time anyway.
MAX_CONNECTIONS: Final = 16

# Entry fields: n, c(hannels, a space between), e(vent), d(ata), x (excluded socket), u(ser id), k(ey), v(ersion),
# s (epoch, and the number within each of the channels), i (correlation id, which no client is told); t (user whose
# connections to terminate) stands alone.
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

# A message comes as its channels, event, data, key, version and correlation id (empty when it has none). A smaller count
# means that Redis lost its tail: seqs would repeat, so a new epoch begins first.
_MESSAGES: Final = (
    _APPEND
    + f"""
local function known(field) return tonumber(redis.call('HGET', state, field) or 0) end
local epoch, appended, recorded = known('epoch'), known('appended'), known('position')

local function begin_epoch(expected, lowest)
  if epoch == 0 or appended < expected then
    epoch = math.max(epoch + 1, lowest + 1, now)
    appended = math.max(appended, expected)
  end
end
local seqs = {{}}
local function seqs_of(days_ago)
  return '{SEQS_PREFIX}' .. text(epoch) .. ':' .. math.floor(time[1] / {DAY_SECONDS}) - days_ago
end
-- One that is forgotten, or new, starts at n: no seq of it in this epoch can have been as high.
local function read_seqs(messages)
  local wanted = {{}}
  for _, message in ipairs(messages) do
    for _, channel in ipairs(message[1]) do
      if not seqs[channel] then
        wanted[#wanted + 1] = channel
        seqs[channel] = n
      end
    end
  end
  for days_ago = 0, 1 do
    if #wanted == 0 then return end
    local missing = {{}}
    for i, seq in ipairs(redis.call('HMGET', seqs_of(days_ago), unpack(wanted))) do
      if seq then seqs[wanted[i]] = tonumber(seq) else missing[#missing + 1] = wanted[i] end
    end
    wanted = missing
  end
end
local function append_messages(messages)
  for _, message in ipairs(messages) do
    local channels, event, data, key, version, cause = unpack(message)
    local stamp = text(epoch)
    for _, channel in ipairs(channels) do
      local seq = seqs[channel] + 1
      seqs[channel] = seq
      stamp = stamp .. ' ' .. text(seq)
    end
    local fields = {{'c', table.concat(channels, ' '), 'e', event, 'd', data, 's', stamp}}
    if key ~= '' then fields[9], fields[10] = 'k', key end
    if version ~= '' then
      fields[#fields + 1] = 'v'
      fields[#fields + 1] = text(version)
    end
    if cause ~= '' then
      fields[#fields + 1] = 'i'
      fields[#fields + 1] = cause
    end
    append(fields)
  end
  appended = appended + #messages
end
local function save_seqs()
  local today, written = seqs_of(0), {{}}
  for channel, seq in pairs(seqs) do
    written[#written + 1] = channel
    written[#written + 1] = text(seq)
  end
  if #written > 0 then
    redis.call('HSET', today, unpack(written))
    redis.call('EXPIRE', today, {2 * DAY_SECONDS})
  end
end
local function tell(messages)
  begin_epoch(tonumber(ARGV[1]), tonumber(ARGV[2]))
  read_seqs(messages)
  append_messages(messages)
  save_seqs()
  redis.call('HSET', state, 'epoch', text(epoch), 'appended', text(appended), 'position', text(recorded))
  close()
end
"""
)

# KEYS: stream, state. ARGV: expected appended, lowest epoch; in MessagePack, of each place its position and messages.
PUBLISH: Final = (
    _MESSAGES
    + """
local told, changed = {}, false
for _, place in ipairs(cmsgpack.unpack(ARGV[3])) do
  local position, messages = unpack(place)
  if position > recorded then
    for _, message in ipairs(messages) do told[#told + 1] = message end
    recorded, changed = position, true
  end
end
if changed then tell(told) end
return {epoch, appended, recorded}
"""
)

# KEYS: stream, state, the mark. ARGV: expected appended, lowest epoch, seconds to keep the mark; the messages.
# After a lost tail nobody can tell whether the mark was lost with it: nothing is appended, and the last number is 0.
PUBLISH_ONCE: Final = (
    _MESSAGES
    + """
if appended < tonumber(ARGV[1]) then return {epoch, appended, recorded, 0} end
if redis.call('SET', KEYS[3], '1', 'NX', 'EX', ARGV[3]) then
  tell(cmsgpack.unpack(ARGV[4]))
end
return {epoch, appended, recorded, 1}
"""
)


class Entry(msgspec.Struct, frozen=True):
    """One entry as the gateway reads it. `stamp` is the epoch and a number for each channel, of a message that is numbered."""

    id: str
    number: int | None
    channels: tuple[str, ...]
    event: str
    data: str
    excluded: str | None = None
    user_id: str | None = None
    terminated_user: str | None = None
    stamp: tuple[str, ...] = ()
    correlation_id: str = ""

    def data_for(self, index: int) -> str:
        """The data as the channel of this index is told it: what is numbered says its number there, before the rest."""
        if not self.stamp:
            return self.data
        comma = "" if self.data == "{}" else ","
        return f'{{"_epoch":{self.stamp[0]},"_seq":{self.stamp[index + 1]}{comma}{self.data[1:]}'

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
        stamp=tuple(text.get(b"s", "").split()),
        correlation_id=text.get(b"i", ""),
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
