"""The push log in Redis: its keys, its entries and the scripts that append to it.

`gittix:push` is one stream that every gateway reads. It is a broadcast log, not a store: a gateway
reads an entry within milliseconds, and within seconds after an outage. So the stream is trimmed to
one minute, and under load to about 100,000 messages. A gateway that was away for longer detects the
jump in `n` and makes its clients reconnect.

An entry has the messages of one call, packed, so Redis does not parse them. Its `n` is the number
of messages ever appended, up to its last one. `gittix:push:state` holds that counter, the time of
the log's creation (`born`), and the notifier's progress. The sequence numbers of channels are in
one hash for each epoch and day: one call reads and writes those of all its channels together, and
hashes of channels without messages expire.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final
from uuid import UUID

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from backend.kernel.redis import DRIVER

STREAM: Final = "gittix:push"
STATE: Final = "gittix:push:state"
SEQS_PREFIX: Final = "gittix:push:seqs:"
ONCE_PREFIX: Final = "gittix:push:once:"
RETENTION_MS: Final = 60_000
# A channel's sequence number is kept for its day and the next, longer than any client can resume.
DAY_SECONDS: Final = 86_400
# A mark is kept longer than any copy of its event.
ONCE_SECONDS: Final = 14 * 86_400
# In messages. Under load the log is trimmed in steps of a tenth: it keeps at least this many, and
# about a tenth more.
MAX_LENGTH: Final = 100_000
# Further appends wait for a connection, since Redis runs one script at a time.
MAX_CONNECTIONS: Final = 16

# Entry fields: n, m (messages), and for numbered messages s (stamps): the epoch, then each
# message's number in each of its channels, in order. Both m and s are MessagePack.
_APPEND: Final = f"""
local stream, state = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
redis.call('HSETNX', state, 'born', time[1] .. string.format('%06d', time[2]) .. '000')
local n = tonumber(redis.call('HGET', state, 'n') or 0)

-- XTRIM counts entries, not messages. So the id at the start of each tenth of MAX_LENGTH is noted,
-- and when the note of an old tenth is replaced, the stream is trimmed up to it.
local function trim_by_length(before, id)
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
  trim_by_length(before, id)
end
"""

# ARGV: the number of messages, and the messages.
APPEND: Final = _APPEND + "append(ARGV[1], ARGV[2])"

# The channels of all messages are passed in one list. A smaller count than expected means that
# Redis lost its tail. Sequence numbers would repeat then, so a new epoch begins first.
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
-- A channel whose number expired, or a new one, starts at n: no number of it in this epoch is
-- higher.
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
local function publish(count, channels, messages)
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
  redis.call(
    'HSET', state,
    'epoch', text(epoch), 'appended', text(appended), 'position', text(recorded)
  )
end
"""
)

# KEYS: stream, state. ARGV: expected appended, lowest epoch, the number of messages, their
# channels, the messages, the first and the last position. Nothing is appended when the first
# position is published already: the caller then repeats the call without the published positions.
PUBLISH: Final = (
    _NUMBERED
    + """
if tonumber(ARGV[6]) > recorded then
  recorded = tonumber(ARGV[7])
  publish(tonumber(ARGV[3]), cmsgpack.unpack(ARGV[4]), ARGV[5])
end
return {epoch, appended, recorded}
"""
)

# KEYS: stream, state, the mark. ARGV: as above, with the seconds to keep the mark instead of the
# positions. When Redis lost its tail, the mark may be lost as well: nothing is appended, and the
# last number returned is 0.
PUBLISH_ONCE: Final = (
    _NUMBERED
    + """
if appended < tonumber(ARGV[1]) then return {epoch, appended, recorded, 0} end
if redis.call('SET', KEYS[3], '1', 'NX', 'EX', ARGV[6]) then
  publish(tonumber(ARGV[3]), cmsgpack.unpack(ARGV[4]), ARGV[5])
end
return {epoch, appended, recorded, 1}
"""
)


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One event for one or more channels. A numbered message has its own number in each of them.

    `data` is JSON from the notifier, or any text from the HTTP API. With a `key` the data is state:
    the highest version of the key replaces older ones. The correlation id is not sent to clients. A
    message with `terminated_user` has no channels and closes that user's connections.
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
    """The messages of one call.

    `number` is that of the last message; `stamps` are the epoch and the numbers in channels.
    """

    id: str
    number: int
    messages: list[Message]
    stamps: list[int]

    def deliveries(self) -> Iterator[tuple[str, Message, int | None]]:
        """Yield each channel, its message, and the message's number there, if it has one."""
        seqs = iter(self.stamps[1:])
        for message in self.messages:
            for channel in message.channels:
                yield channel, message, next(seqs, None)

    def numbered_data(self, message: Message, seq: int | None) -> str:
        """Return the data for one channel; numbered data starts with its epoch and number."""
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
    """Return the entry of a stream entry's fields. Raises ValueError if they are malformed."""
    if not {b"n", b"m"} <= fields.keys():
        raise ValueError(f"these are not the fields of a push log entry: {fields.keys()}")
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
    """Return a client without retries: an append that timed out may have happened."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        driver_info=DRIVER,
    )
    return Redis.from_pool(pool)
