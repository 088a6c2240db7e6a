"""The push log in Redis: its keys, its entries and the scripts that append to it.

`gittix:push` is one stream that every gateway reads. It is a broadcast log, not a store: a gateway
reads an entry within milliseconds, and within seconds after an outage. So the stream is trimmed to
one minute, and under load to MAX_LENGTH messages or MAX_BYTES. A gateway that was away for longer
detects the jump in `n` and makes its clients reconnect.

An entry has the messages of one call, packed, so Redis does not parse them. Its `n` is the number
of messages ever appended, up to its last one. `gittix:push:state` holds that counter, the time of
the log's creation (`born`), the log's segments, and the notifier's progress. The sequence numbers
of channels are in one hash for each epoch and day: one call reads and writes those of all its
channels together, and hashes of channels without messages expire. The numbered messages are also in
the logs from which clients resume: see replay_log.py.

Everything here is bounded, and each script trims the stream before its other writes. Redis allows
trimming when its memory is full, and then also the rest of the script. So a full Redis, which
refuses the other writes of GitTix, still publishes messages.
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
from backend.push import replay_log
from backend.push.cache_script import STORE

STREAM: Final = "gittix:push"
STATE: Final = "gittix:push:state"
SEQS_PREFIX: Final = "gittix:push:seqs:"
ONCE: Final = "gittix:push:once"
RETENTION_MS: Final = 60_000
# The bounds of the log under load: messages, and bytes of their entries. A message of GitTix has
# about 600 bytes, so MAX_LENGTH applies first. MAX_BYTES applies to larger ones: client events and
# the HTTP API send up to 10 KB. Redis needs up to a third more memory than the entries have bytes.
MAX_LENGTH: Final = 100_000
MAX_BYTES: Final = 64 * 1_048_576
# The log is trimmed in steps of a segment, so it keeps at least nine tenths of a bound.
SEGMENTS: Final = 10
# The bytes of an entry beside its messages and numbers: id, field names, the stream's index.
ENTRY_BYTES: Final = 128
# A channel's sequence number is kept for its day and the next, longer than any client can resume,
# and while fewer than this many other channels had messages. The hashes of so many channels, of
# which clients create one with each ticket, need about 10 MB each.
DAY_SECONDS: Final = 86_400
MAX_CHANNELS: Final = 100_000
# A mark is kept longer than any copy of its event; twice as many as there are dead letters.
ONCE_SECONDS: Final = 14 * 86_400
MAX_MARKS: Final = 20_000
# Further appends wait for a connection, since Redis runs one script at a time.
MAX_CONNECTIONS: Final = 16

# Entry fields: n, m (messages), and for numbered messages s (stamps): the epoch, then each
# message's number in each of its channels, in order. Both m and s are MessagePack.
APPEND_FUNCTIONS: Final = f"""
local stream, state = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
local function known(field) return tonumber(redis.call('HGET', state, field) or 0) end
-- First, so that a full Redis does not refuse this script.
redis.call('XTRIM', stream, 'MINID', '~', text(now - {RETENTION_MS}))
redis.call('HSETNX', state, 'born', time[1] .. string.format('%06d', time[2]) .. '000')
local n = known('n')

-- XTRIM counts entries, neither messages nor bytes. So the id at the start of each segment is
-- noted. A new segment takes the oldest one's place, and the stream is trimmed up to the next.
local function trim_by_segment(id, count, size)
  local segment = known('segment')
  local messages, bytes = known('segment_messages') + count, known('segment_bytes') + size
  if segment == 0 or messages > {MAX_LENGTH // SEGMENTS} or bytes > {MAX_BYTES // SEGMENTS} then
    segment, messages, bytes = segment + 1, count, size
    redis.call('HSET', state, 'segment' .. segment % {SEGMENTS}, id)
    local oldest = redis.call('HGET', state, 'segment' .. (segment + 1) % {SEGMENTS})
    if oldest then redis.call('XTRIM', stream, 'MINID', oldest) end
  end
  redis.call(
    'HSET', state, 'segment', text(segment),
    'segment_messages', text(messages), 'segment_bytes', text(bytes)
  )
end
local function append(count, messages, stamps)
  n = n + count
  local stamped = stamps and {{'s', stamps}} or {{}}
  local id = redis.call('XADD', stream, '*', 'n', text(n), 'm', messages, unpack(stamped))
  redis.call('HSET', state, 'n', text(n))
  trim_by_segment(id, count, #messages + #(stamps or '') + {ENTRY_BYTES})
end
"""

# ARGV: the number of messages, the messages, and the events to store (cache_script.py), if any.
APPEND: Final = (
    APPEND_FUNCTIONS + STORE + "append(tonumber(ARGV[1]), ARGV[2])\nstore(3, n - ARGV[1])"
)

# The messages are passed as MessagePack of the channels, the key or '', and the version of each,
# then as each message's MessagePack, in arguments of their own since Redis's decoder does not know
# binary values. A smaller count than expected means that Redis lost its tail. Sequence numbers
# would repeat then, so a new epoch begins first.
#
# `forgotten` is a number that no channel without a known number has passed: where those begin.
_NUMBERED: Final = (
    APPEND_FUNCTIONS
    + """
local epoch, appended, recorded = known('epoch'), known('appended'), known('position')
local generation = known('generation')
local forgotten = tonumber(redis.call('HGET', state, 'forgotten') or n)
local function save_state()
  redis.call(
    'HSET', state,
    'epoch', text(epoch), 'appended', text(appended), 'position', text(recorded),
    'generation', text(generation), 'forgotten', text(forgotten)
  )
end
"""
    + replay_log.RECORD
    + f"""
-- Returns whether an epoch began.
local function begin_epoch(expected, lowest)
  if epoch > 0 and appended >= expected then return false end
  epoch = math.max(epoch + 1, lowest + 1, now)
  appended = math.max(appended, expected)
  forgotten = n
  redis.call('HSET', state, 'generation_n', text(n))
  return true
end
-- Without a message of the new epoch, an entry announces it to the gateways.
local function announce_epoch()
  append(0, string.char(0x90), cmsgpack.pack({{epoch}}))
  save_state()
end
local function seqs_of(generations_ago)
  return '{SEQS_PREFIX}' .. text(epoch) .. ':' .. text(generation - generations_ago)
end
-- A generation of hashes is a day, or ends when its hash is full. Its channels are forgotten when
-- the next but one begins; their numbers are at most `generation_n`, that of the last message
-- before the next one. After days without messages both hashes may have expired.
local function begin_generation()
  local day, today = known('generation_day'), math.floor(time[1] / {DAY_SECONDS})
  local full = redis.call('HLEN', seqs_of(0)) >= {MAX_CHANNELS}
  if today <= day and not full then return end
  local before = redis.call('HGET', state, 'generation_n')
  forgotten = today <= day + 1 and before and math.max(forgotten, tonumber(before)) or n
  generation = generation + 1
  redis.call('UNLINK', seqs_of(2))
  redis.call(
    'HSET', state, 'generation_day', text(math.max(day, today)), 'generation_n', text(n)
  )
end
-- A channel without a known number begins after `forgotten`, so that none is repeated in the epoch.
local function read_seqs(channels)
  local seqs, wanted = {{}}, {{}}
  for _, channel in ipairs(channels) do
    if not seqs[channel] then
      wanted[#wanted + 1] = channel
      seqs[channel] = forgotten
    end
  end
  for generations_ago = 0, 1 do
    if #wanted == 0 then break end
    local missing = {{}}
    for i, seq in ipairs(redis.call('HMGET', seqs_of(generations_ago), unpack(wanted))) do
      if seq then seqs[wanted[i]] = tonumber(seq) else missing[#missing + 1] = wanted[i] end
    end
    wanted = missing
  end
  return seqs
end
local function save_seqs(seqs)
  local current, written = seqs_of(0), {{}}
  for channel, seq in pairs(seqs) do
    written[#written + 1] = channel
    written[#written + 1] = text(seq)
  end
  redis.call('HSET', current, unpack(written))
  redis.call('EXPIRE', current, {2 * DAY_SECONDS})
end
-- The MessagePack of an array of `messages`, which are MessagePack.
local function array_of(messages)
  local high, low = math.floor(#messages / 256), #messages % 256
  return string.char(0xdc, high, low) .. table.concat(messages)
end
-- The first message's MessagePack is the argument `first`.
local function publish(messages, first)
  local packed, channels, tops, by_channel = {{}}, {{}}, {{}}, {{}}
  for i, message in ipairs(messages) do
    packed[i] = ARGV[first + i - 1]
    for _, channel in ipairs(message[1]) do channels[#channels + 1] = channel end
  end
  begin_generation()
  local seqs, stamps = read_seqs(channels), {{epoch}}
  for i, message in ipairs(messages) do
    for _, channel in ipairs(message[1]) do
      local seq = seqs[channel] + 1
      if not tops[channel] then tops[channel], by_channel[channel] = seq - 1, {{}} end
      seqs[channel], stamps[#stamps + 1] = seq, seq
      local member = message[2] ~= '' and 'k' .. message[2] or '#' .. seq
      local logged = {{seq = seq, member = member, version = message[3], packed = packed[i]}}
      by_channel[channel][#by_channel[channel] + 1] = logged
    end
  end
  if #channels > 0 then
    save_seqs(seqs)
    record_all(by_channel, tops)
  end
  append(#messages, array_of(packed), cmsgpack.pack(stamps))
  appended = appended + #messages
end
"""
)

# KEYS: stream, state. ARGV: expected appended, lowest epoch, the messages' channels, keys and
# versions, the first and the last position, and the messages. Nothing is appended when the first
# position is published already: the caller then repeats the call without the published positions.
PUBLISH: Final = (
    _NUMBERED
    + """
local begun, messages = begin_epoch(tonumber(ARGV[1]), tonumber(ARGV[2])), {}
if tonumber(ARGV[4]) > recorded then
  recorded = tonumber(ARGV[5])
  messages = cmsgpack.unpack(ARGV[3])
end
if #messages > 0 then
  publish(messages, 6)
elseif begun then
  announce_epoch()
end
save_state()
return {epoch, appended, recorded}
"""
)

# KEYS: stream, state, the marks. ARGV: as above, with the mark instead of the positions. When Redis
# lost its tail, the mark may be lost as well: nothing is appended, and the last number returned is
# 0.
PUBLISH_ONCE: Final = (
    _NUMBERED
    + f"""
local marks, mark = KEYS[3], ARGV[4]
if appended < tonumber(ARGV[1]) then return {{epoch, appended, recorded, 0}} end
redis.call('ZREMRANGEBYSCORE', marks, '-inf', time[1] - {ONCE_SECONDS})
if redis.call('ZADD', marks, 'NX', time[1], mark) == 1 then
  redis.call('ZREMRANGEBYRANK', marks, 0, {-MAX_MARKS - 1})
  begin_epoch(tonumber(ARGV[1]), tonumber(ARGV[2]))
  publish(cmsgpack.unpack(ARGV[3]), 5)
  save_state()
end
return {{epoch, appended, recorded, 1}}
"""
)

# KEYS: stream, state. ARGV: expected appended, lowest epoch. Begins an epoch and announces it when
# Redis lost its tail.
BEGIN_EPOCH_AFTER_LOSS: Final = (
    _NUMBERED
    + """
if appended < tonumber(ARGV[1]) and begin_epoch(tonumber(ARGV[1]), tonumber(ARGV[2])) then
  announce_epoch()
end
return {epoch, appended, recorded}
"""
)

# KEYS: stream, state. Returns the last id, n, and the log's creation time. A script, since a full
# Redis refuses every command of a transaction, also reads. A log without `born` is new, because
# Redis lost all data; the first reader or appender sets it.
END: Final = """
local last, time = '0-0', redis.call('TIME')
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end
if redis.call('HEXISTS', KEYS[2], 'born') == 0 then
  redis.call('HSET', KEYS[2], 'born', time[1] .. string.format('%06d', time[2]) .. '000')
end
return {last, redis.call('HGET', KEYS[2], 'n') or '0', redis.call('HGET', KEYS[2], 'born')}
"""


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
        return numbered_data(message.data, self.stamps[0], seq)

    @property
    def appended_ms(self) -> int:
        return int(self.id.partition("-")[0])


pack: Final = msgspec.msgpack.encode
read_message: Final = msgspec.msgpack.Decoder(Message).decode
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


def numbered_data(data: str, epoch: int, seq: int) -> str:
    """Return JSON data of a message that starts with its epoch and number."""
    comma = "" if data == "{}" else ","
    return f'{{"_epoch":{epoch},"_seq":{seq}{comma}{data[1:]}'


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
