"""The replay logs in Redis: the last messages of each channel, from which clients resume.

The push log keeps a minute of all channels together. A client that returns needs only what its
channels published since, so the script that appends numbered messages also records them in a log
of each channel. Two keys hold a log: a hash with the messages by member, and a sorted set with the
members by sequence number. A message with a key (a ticket's id) is state: it takes the place of
the key's older message, unless that one has a higher version. A message without a key is a member
of its own.

The hash has versions beside the messages, since the script must not copy messages; its field `''`
holds the log's epoch, `floor`, number of members, and bytes. Invariant: a client that has all
messages of this epoch up to a number from `floor` to the channel's top gets, by the members with
higher numbers, all that it misses. Whatever leaves a log without being superseded raises `floor`:
the bounds of a log, and those of all logs together, under which the log that was written to least
recently is removed. A removed log begins again with the channel's top as its floor.
"""

from typing import Final

LOG_PREFIX: Final = "gittix:push:replay:"
ORDER_PREFIX: Final = "gittix:push:replay-order:"
# Channels by the time of their last message.
LOGS: Final = "gittix:push:replays"
IDLE_SECONDS: Final = 86_400
# Beside its bytes, a member needs some for its places in both keys, and a log for these keys.
MEMBER_BYTES: Final = 160
KEYS_BYTES: Final = 640
# The bounds of one log, after a message without and with a key, and that of all logs. A log may
# exceed its bounds by a tenth.
MAX_ENTRIES: Final = 300
MAX_LOG_BYTES: Final = 65_536 + MAX_ENTRIES * MEMBER_BYTES
MAX_STATE_ENTRIES: Final = 1_000
MAX_STATE_BYTES: Final = 524_288
MAX_BYTES: Final = 32 * 1_048_576
# Idle logs that one call removes.
IDLE_PER_CALL: Final = 20

# Part of the script that numbers messages, which defines `known`, `text`, `time`, and `epoch`.
RECORD: Final = f"""
local logged_bytes = known('logged_bytes')
local function remove_log(channel)
  local meta = redis.call('HGET', '{LOG_PREFIX}' .. channel, '')
  if meta then logged_bytes = logged_bytes - tonumber(meta:match('%d+$')) end
  redis.call('UNLINK', '{LOG_PREFIX}' .. channel, '{ORDER_PREFIX}' .. channel)
end
-- The newest message of each member, and the members in the order of their first messages.
local function compact(messages)
  local first = messages[1]
  if #messages == 1 then return {{[first.member] = first}}, {{first.member}} end
  local newest, members = {{}}, {{}}
  for _, message in ipairs(messages) do
    local same = newest[message.member]
    if not same then members[#members + 1] = message.member end
    if not same or message.version >= same.version then newest[message.member] = message end
  end
  return newest, members
end
-- Removes the oldest messages, down to the bounds. It is called a tenth above them, thus rarely.
local function trim(log, order, kept, max_entries, max_bytes)
  while kept.entries > max_entries or kept.bytes > max_bytes do
    local count = math.max(kept.entries - max_entries, math.ceil(kept.entries / 50))
    local oldest = redis.call('ZPOPMIN', order, count)
    if #oldest == 0 then break end
    for i = 1, #oldest, 2 do
      local member = oldest[i]
      local size = redis.call('HSTRLEN', log, member)
      redis.call('HDEL', log, member, 'v' .. member)
      kept.bytes = kept.bytes - size - 3 * #member - {MEMBER_BYTES}
      kept.entries = kept.entries - 1
      kept.floor = math.max(kept.floor, tonumber(oldest[i + 1]))
    end
  end
end
-- The log's state, and the versions of these members in it.
local function open_log(channel, log, members, top)
  local fields = {{''}}
  for i, member in ipairs(members) do fields[i + 1] = 'v' .. member end
  local found = redis.call('HMGET', log, unpack(fields))
  local of_epoch, floor, entries, bytes = (found[1] or ''):match('^(%d+) (%d+) (%d+) (%d+)$')
  if of_epoch and tonumber(of_epoch) == epoch then
    local kept = {{floor = tonumber(floor), entries = tonumber(entries), bytes = tonumber(bytes)}}
    return kept, found
  end
  if of_epoch then remove_log(channel) end
  local bytes = #channel * 2 + {KEYS_BYTES}
  logged_bytes = logged_bytes + bytes
  return {{floor = top, entries = 0, bytes = bytes}}, {{}}
end
-- `top` is the channel's number before these messages.
local function record(channel, top, messages)
  local log, order = '{LOG_PREFIX}' .. channel, '{ORDER_PREFIX}' .. channel
  local newest, members = compact(messages)
  local kept, versions = open_log(channel, log, members, top)
  local before, values, numbers = kept.bytes, {{}}, {{}}
  for i, member in ipairs(members) do
    local message, version = newest[member], versions[i + 1]
    if not version or tonumber(version) <= message.version then
      local at = #values
      values[at + 1], values[at + 2] = member, message.packed
      values[at + 3], values[at + 4] = 'v' .. member, message.version
      numbers[#numbers + 1], numbers[#numbers + 2] = message.seq, member
      kept.bytes = kept.bytes + #message.packed
      if version then
        kept.bytes = kept.bytes - redis.call('HSTRLEN', log, member)
      else
        kept.bytes = kept.bytes + 3 * #member + {MEMBER_BYTES}
        kept.entries = kept.entries + 1
      end
    end
  end
  if #numbers > 0 then redis.call('ZADD', order, unpack(numbers)) end
  local is_state = messages[#messages].member:sub(1, 1) == 'k'
  local max_bytes = is_state and {MAX_STATE_BYTES} or {MAX_LOG_BYTES}
  local max_entries = is_state and {MAX_STATE_ENTRIES} or {MAX_ENTRIES}
  if kept.entries > max_entries * 1.1 or kept.bytes > max_bytes * 1.1 then
    if #values > 0 then redis.call('HSET', log, unpack(values)) end
    values = {{}}
    trim(log, order, kept, max_entries, max_bytes)
  end
  values[#values + 1] = ''
  values[#values + 1] = string.format(
    '%.0f %.0f %.0f %.0f', epoch, kept.floor, kept.entries, kept.bytes
  )
  redis.call('HSET', log, unpack(values))
  logged_bytes = logged_bytes + kept.bytes - before
end
-- `tops` has the numbers of these channels before the messages.
local function record_all(messages_by_channel, tops)
  local written, at = {{}}, time[1] + time[2] / 1000000
  for channel, messages in pairs(messages_by_channel) do
    record(channel, tops[channel], messages)
    written[#written + 1], written[#written + 2] = at, channel
  end
  redis.call('ZADD', '{LOGS}', unpack(written))
  local idle_since = time[1] - {IDLE_SECONDS}
  local idle =
    redis.call('ZRANGEBYSCORE', '{LOGS}', '-inf', idle_since, 'LIMIT', 0, {IDLE_PER_CALL})
  for _, channel in ipairs(idle) do
    remove_log(channel)
    redis.call('ZREM', '{LOGS}', channel)
  end
  while logged_bytes > {MAX_BYTES} do
    local oldest = redis.call('ZPOPMIN', '{LOGS}')
    if #oldest == 0 then break end
    remove_log(oldest[1])
  end
  redis.call('HSET', KEYS[2], 'logged_bytes', text(math.max(0, logged_bytes)))
end
"""

# KEYS: state. ARGV: the prefix of the hashes with sequence numbers, the most bytes to return, and
# the requests: for each channel its name, and the numbers from which clients resume, in ascending
# order. Returns the epoch, `n`, and for each request, until the bytes are reached: the channel's
# top, its floor, and the numbers and messages above the lowest number that the log can serve.
READ: Final = f"""
local function text(number) return string.format('%.0f', number) end
local requests = cmsgpack.unpack(ARGV[3])
local found = redis.call('HMGET', KEYS[1], 'epoch', 'n', 'generation', 'forgotten')
local epoch, n = found[1] or '0', found[2] or '0'
local forgotten = tonumber(found[4] or n)
if epoch == '0' then return {{epoch, n}} end

local tops, wanted = {{}}, {{}}
for i, request in ipairs(requests) do wanted[i] = request[1] end
for generations_ago = 0, 1 do
  local missing = {{}}
  if #wanted > 0 then
    local seqs = ARGV[1] .. epoch .. ':' .. text(tonumber(found[3] or 0) - generations_ago)
    for i, seq in ipairs(redis.call('HMGET', seqs, unpack(wanted))) do
      if seq then tops[wanted[i]] = tonumber(seq) else missing[#missing + 1] = wanted[i] end
    end
  end
  wanted = missing
end

local reply, bytes = {{epoch, n}}, 0
for _, request in ipairs(requests) do
  if bytes > tonumber(ARGV[2]) then break end
  local channel = request[1]
  local top = tops[channel] or forgotten
  local floor, messages = top, {{}}
  if #request > 1 then
    local meta = redis.call('HGET', '{LOG_PREFIX}' .. channel, '')
    local of_epoch, known_floor = (meta or ''):match('^(%d+) (%d+)')
    if of_epoch == epoch then floor = tonumber(known_floor) end
  end
  for at = 2, #request do
    local seq = request[at]
    if seq >= floor and seq < top then
      local order = '{ORDER_PREFIX}' .. channel
      local members = redis.call('ZRANGEBYSCORE', order, '(' .. text(seq), '+inf', 'WITHSCORES')
      local names = {{}}
      for i = 1, #members, 2 do names[#names + 1] = members[i] end
      local values =
        #names > 0 and redis.call('HMGET', '{LOG_PREFIX}' .. channel, unpack(names)) or {{}}
      for i, value in ipairs(values) do
        messages[2 * i - 1], messages[2 * i] = members[2 * i], value
        bytes = bytes + #value
      end
      break
    end
  end
  reply[#reply + 1] = {{text(top), text(floor), messages}}
end
return reply
"""
