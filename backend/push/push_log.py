"""The push log in Redis: its keys, its entries and the scripts that append to it.

`gittix:push` is one stream that every gateway reads. It is a broadcast log, not a store: a gateway reads it within
milliseconds and after an outage of its own or of Redis within seconds, so it is cut at a minute of age and, against
a flood, at about 100,000 messages; a reader that was away for longer sees the jump in `n` and sends its clients back to
resume.

An entry is what one call appended, however many messages: Redis carries them packed and does not look into them. Its `n`
is how many messages were ever appended, up to its last; `gittix:push:state` holds that counter, when the log was born,
and what the notifier has published. The numbers within channels stand in one hash for each epoch and day, so that
a call reads and writes all of its channels' at once, and those that fell silent are forgotten.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final
from uuid import UUID

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
# In messages. A flood is cut by tenths of this: no less is kept, and hardly more than a tenth more.
MAX_LENGTH: Final = 100_000
# Appends beyond this wait for a connection: Redis runs one script at a time anyway.
MAX_CONNECTIONS: Final = 16

# Entry fields: n, m(essages), and s(tamps) if they are numbered: the epoch, and then their numbers within each of their
# channels, in order. Both are MessagePack.
_APPEND: Final = f"""
local stream, state = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
redis.call('HSETNX', state, 'born', time[1] .. string.format('%06d', time[2]) .. '000')
local n = tonumber(redis.call('HGET', state, 'n') or 0)

-- Where each tenth of a flood begins is noted, over the note of the one that goes: only entries can be counted, not messages.
local function cut_flood(before, id)
  local tenth = math.floor(n / {MAX_LENGTH // 10})
  if tenth == math.floor(before / {MAX_LENGTH // 10}) then return end
  local note = 'tenth' .. tenth % 10
  local oldest = redis.call('HGET', state, note)
  if oldest then redis.call('XTRIM', stream, 'MINID', oldest) end
  redis.call('HSET', state, note, id)
end
local function append(count, messages, ...)
  local before = n
  n = n + count
  local id = redis.call('XADD', stream, '*', 'n', text(n), 'm', messages, ...)
  redis.call('HSET', state, 'n', text(n))
  redis.call('XTRIM', stream, 'MINID', '~', text(now - {RETENTION_MS}))
  cut_flood(before, id)
end
"""

# ARGV: how many messages, and the messages.
APPEND: Final = _APPEND + "append(ARGV[1], ARGV[2])"

# Messages come with the channels of all of them in one list. A smaller count than expected means that Redis lost its tail:
# seqs would repeat, so a new epoch begins first.
_NUMBERED: Final = (
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
local function seqs_of(days_ago)
  return '{SEQS_PREFIX}' .. text(epoch) .. ':' .. math.floor(time[1] / {DAY_SECONDS}) - days_ago
end
-- One that is forgotten, or new, starts at n: no seq of it in this epoch can have been as high.
local function read_seqs(channels)
  local seqs, wanted = {{}}, {{}}
  for _, channel in ipairs(channels) do
    if not seqs[channel] then
      wanted[#wanted + 1] = channel
      seqs[channel] = n
    end
  end
  for days_ago = 0, 1 do
    if #wanted == 0 then break end
    local missing = {{}}
    for i, seq in ipairs(redis.call('HMGET', seqs_of(days_ago), unpack(wanted))) do
      if seq then seqs[wanted[i]] = tonumber(seq) else missing[#missing + 1] = wanted[i] end
    end
    wanted = missing
  end
  return seqs
end
local function save_seqs(seqs)
  local today, written = seqs_of(0), {{}}
  for channel, seq in pairs(seqs) do
    written[#written + 1] = channel
    written[#written + 1] = text(seq)
  end
  redis.call('HSET', today, unpack(written))
  redis.call('EXPIRE', today, {2 * DAY_SECONDS})
end
local function tell(count, channels, messages)
  begin_epoch(tonumber(ARGV[1]), tonumber(ARGV[2]))
  if count > 0 then
    local seqs, stamps = read_seqs(channels), {{epoch}}
    for i, channel in ipairs(channels) do
      seqs[channel] = seqs[channel] + 1
      stamps[i + 1] = seqs[channel]
    end
    save_seqs(seqs)
    append(count, messages, 's', cmsgpack.pack(stamps))
    appended = appended + count
  end
  redis.call('HSET', state, 'epoch', text(epoch), 'appended', text(appended), 'position', text(recorded))
end
"""
)

# KEYS: stream, state. ARGV: expected appended, lowest epoch, how many messages, their channels, the messages; the first
# and the last of their positions. Beside one that is published already nothing is appended: the caller leaves it out.
PUBLISH: Final = (
    _NUMBERED
    + """
if tonumber(ARGV[6]) > recorded then
  recorded = tonumber(ARGV[7])
  tell(tonumber(ARGV[3]), cmsgpack.unpack(ARGV[4]), ARGV[5])
end
return {epoch, appended, recorded}
"""
)

# KEYS: stream, state, the mark. ARGV: as above, but instead of positions the seconds to keep the mark.
# After a lost tail nobody can tell whether the mark was lost with it: nothing is appended, and the last number is 0.
PUBLISH_ONCE: Final = (
    _NUMBERED
    + """
if appended < tonumber(ARGV[1]) then return {epoch, appended, recorded, 0} end
if redis.call('SET', KEYS[3], '1', 'NX', 'EX', ARGV[6]) then
  tell(tonumber(ARGV[3]), cmsgpack.unpack(ARGV[4]), ARGV[5])
end
return {epoch, appended, recorded, 1}
"""
)


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One event for some channels, to each of which it is a message of its own, with its number there if it is numbered.

    `data` is JSON, or whatever who triggers it over HTTP means by it. With a key it is state: the highest version of
    the key replaces the others. No client is told the correlation id. One that terminates a user's connections is for no
    channel.
    """

    channels: tuple[str, ...]
    event: str
    data: str
    key: str | None = None
    version: int | None = None
    correlation_id: UUID | None = None
    excluded: str | None = None
    user_id: str | None = None
    terminated_user: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """What one call appended. `number` is its last message's; `stamps` are the epoch and the numbers within channels."""

    id: str
    number: int
    messages: list[Message]
    stamps: list[int]

    def told(self) -> Iterator[tuple[str, Message, int | None]]:
        """What each channel is told, in order: the channel, the message, and its number there if it is numbered."""
        seqs = iter(self.stamps[1:])
        for message in self.messages:
            for channel in message.channels:
                yield channel, message, next(seqs, None)

    def data_of(self, message: Message, seq: int | None) -> str:
        """The data as a channel is told it: what is numbered says its number there, before the rest."""
        if seq is None:
            return message.data
        comma = "" if message.data == "{}" else ","
        return f'{{"_epoch":{self.stamps[0]},"_seq":{seq}{comma}{message.data[1:]}'

    @property
    def appended_ms(self) -> int:
        return int(self.id.partition("-")[0])


pack: Final = msgspec.msgpack.encode
_decode_messages: Final = msgspec.msgpack.Decoder(list[Message]).decode
_decode_stamps: Final = msgspec.msgpack.Decoder(list[int]).decode


def read_entry(id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    """Raises ValueError for what no appender of ours writes."""
    if not {b"n", b"m"} <= fields.keys():
        raise ValueError(f"no entry of the push log has these fields: {fields.keys()}")
    stamps = fields.get(b"s")
    return Entry(
        id=id.decode(),
        number=int(fields[b"n"]),
        messages=_decode_messages(fields[b"m"]),
        stamps=_decode_stamps(stamps) if stamps is not None else [],
    )


def termination(user_id: str) -> Message:
    return Message((), "", "", terminated_user=user_id)


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
