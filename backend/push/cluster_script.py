"""The state of all gateways in Redis, and the script that is the only writer of it.

Each gateway is registered under a random id with a lease, and reports what it holds: of a channel
the number of its subscriptions, of a presence channel also its users. A report has absolute values,
so a repeated one changes nothing. The script adds them up, and appends each change of a roster to
the push log in the same step. The log therefore has all changes in one order, and each exactly
once, whichever gateway reported it.

| key | type | content |
| --- | --- | --- |
| `gittix:push:gateways` | hash | gateway: end of its lease, since when, last call |
| `gittix:push:gateway:{id}` | hash | channel: its subscriptions at this gateway |
| `gittix:push:channels` | hash | channel: its subscriptions at all gateways |
| `gittix:push:members:{channel}` | hash | user: `user_info` and holders; the empty user: version |
| `gittix:push:due` | sorted set | what becomes final at a time (ms): see `settle` |
| `gittix:push:facts` | stream | the transitions, for one reader (facts.py) |

A user without a holder, and a channel without a subscription, stay for the debounce. Whichever
gateway calls next after that removes them.

A call has a number that grows. A call that Redis executes late, after its gateway gave up waiting
and called again, has a smaller number than the last one and changes nothing. When Redis lost the
last acknowledged call or the registration, the call is refused: the gateway registers under a new
id, reports all that it holds, and then ends the registration of the old id.
"""

from typing import Final

from backend.push import push_log as pushlog

GATEWAYS: Final = "gittix:push:gateways"
GATEWAY_PREFIX: Final = "gittix:push:gateway:"
CHANNELS: Final = "gittix:push:channels"
MEMBERS_PREFIX: Final = "gittix:push:members:"
DUE: Final = "gittix:push:due"
FACTS: Final = "gittix:push:facts"
# A fact has about 150 bytes.
MAX_FACTS: Final = 10_000
# The event of a message without channels: a change of a roster, for the gateways.
ROSTER_CHANGED: Final = "gittix:roster_changed"
# A user's signed-in connections are counted as the subscriptions of this name, which no channel can
# have. Its transitions are messages for the gateways, and no facts.
ONLINE_PREFIX: Final = "#online-"
ONLINE_CHANGED: Final = "gittix:online_changed"
# Up to this many subscriptions a count is sent at once; above, at most once in the interval.
COUNT_AT_ONCE: Final = 100
COUNT_INTERVAL_MS: Final = 5_000
# The most that one call settles and reaps, since Redis serves nobody else meanwhile.
DUE_PER_CALL: Final = 200
REAPED_PER_CALL: Final = 50

# KEYS: stream, state. ARGV: the gateway, the number of the call, the last acknowledged call, the
# lease and the debounce in ms, the most members of a channel, whether counts are sent and facts are
# recorded (0 or 1), `born` of the log as the gateway knows it, the gateway to end, whether this is
# the last call, and the reports as MessagePack:
# a list of {channel, subscriptions, known, members, read_roster}, with members of {user, user_info
# or '', known}.
# `known` is 0 for a new holding, 1 for one that was admitted without Redis, and 2 for one that was
# reported under an earlier id.
# Returns {1, refused {channel, user, ...}, rosters {{channel, version, user, user_info, ...}, ...},
# ms until something is due, born}, or {0} when the registration is lost.
EXCHANGE: Final = (
    pushlog.APPEND_FUNCTIONS
    + f"""
local GATEWAYS, CHANNELS, DUE = '{GATEWAYS}', '{CHANNELS}', '{DUE}'
local me, call, acknowledged = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lease, debounce, max_members = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local counting, recording = ARGV[7] == '1', ARGV[8] == '1'
local born = redis.call('HGET', state, 'born')
-- Redis lost its data: what a gateway reports again happened before, and is no new fact.
local restoring = ARGV[9] ~= '' and ARGV[9] ~= born
local micros = time[1] * 1000000 + time[2]
local messages = {{}}

local function fact(name, channel, ...)
  if not recording then return end
  redis.call(
    'XADD', '{FACTS}', 'MAXLEN', '~', '{MAX_FACTS}', '*', 'name', name, 'channel', channel, ...
  )
end
-- A channel becomes occupied or vacated, or a user comes online or goes offline.
local function occupied(channel, is)
  if channel:sub(1, {len(ONLINE_PREFIX)}) ~= '{ONLINE_PREFIX}' then
    fact(is and 'channel_occupied' or 'channel_vacated', channel)
    return
  end
  local data = '{{"user_id":' .. cjson.encode(channel:sub({len(ONLINE_PREFIX) + 1}))
    .. ',"online":' .. tostring(is) .. '}}'
  messages[#messages + 1] = {{{{}}, '{ONLINE_CHANGED}', data}}
end
local function later(item, delay) redis.call('ZADD', DUE, text(now + delay), item) end
local function cancel(item) redis.call('ZREM', DUE, item) end

local function registration(id)
  local found = redis.call('HGET', GATEWAYS, id)
  return found and cmsgpack.unpack(found)
end
local function register(id, ends, since, number)
  redis.call('HSET', GATEWAYS, id, cmsgpack.pack({{ends, since, number}}))
end

local function is_counted(channel)
  return channel:sub(1, 9) ~= 'presence-' and channel:sub(1, 18) ~= 'private-encrypted-'
    and channel:sub(1, 1) ~= '#'
end
local function send_count(channel, total)
  if counting then
    local data = '{{"subscription_count":' .. text(total) .. '}}'
    messages[#messages + 1] = {{{{channel}}, 'pusher_internal:subscription_count', data}}
  end
  fact('subscription_count', channel, 'count', text(total))
end
-- After a count above the limit its channel is due after the interval: as 'n' without and as 'p'
-- with a change meanwhile.
local function count_changed(channel, total)
  if not (counting or recording) or total <= 0 or not is_counted(channel) then return end
  if total > {COUNT_AT_ONCE} then
    local at = redis.call('ZSCORE', DUE, 'n' .. channel)
    if at then
      cancel('n' .. channel)
      redis.call('ZADD', DUE, at, 'p' .. channel)
    end
    if redis.call('ZSCORE', DUE, 'p' .. channel) then return end
    later('n' .. channel, {COUNT_INTERVAL_MS})
  end
  send_count(channel, total)
end
local function change_total(channel, change, delay, known)
  local before = tonumber(redis.call('HGET', CHANNELS, channel))
  local total = redis.call('HINCRBY', CHANNELS, channel, text(change))
  if total <= 0 then
    later('v' .. channel, delay)
  elseif before == nil then
    if not (restoring and known == 2) then occupied(channel, true) end
  elseif before == 0 then
    cancel('v' .. channel)
  end
  count_changed(channel, total)
end
local function report_count(channel, count, known)
  local key = '{GATEWAY_PREFIX}' .. me
  local change = count - tonumber(redis.call('HGET', key, channel) or 0)
  if change == 0 then return end
  if count > 0 then
    redis.call('HSET', key, channel, text(count))
  else
    redis.call('HDEL', key, channel)
  end
  change_total(channel, change, debounce, known)
end

-- A version is unique: it grows with Redis's clock, also after Redis lost the last ones. Each
-- change has the version before it, so a gateway detects a change that it missed.
local function announce(channel, change, user, info)
  local key = '{MEMBERS_PREFIX}' .. channel
  local before = tonumber(redis.call('HGET', key, '') or 0)
  local version = math.max(before + 1, micros)
  redis.call('HSET', key, '', text(version))
  local data = '{{"channel":"' .. channel .. '","before":' .. text(before)
    .. ',"version":' .. text(version) .. ',"change":"' .. change
    .. '","user_id":' .. cjson.encode(user)
  if info then data = data .. ',"user_info":' .. info end
  messages[#messages + 1] = {{{{}}, '{ROSTER_CHANGED}', data .. '}}'}}
end
local function remove(channel, user)
  local key = '{MEMBERS_PREFIX}' .. channel
  redis.call('HDEL', key, user)
  announce(channel, 'removed', user)
  fact('member_removed', channel, 'user_id', user)
  if redis.call('HLEN', key) == 1 then redis.call('DEL', key) end
end
local function hold(channel, user, info, known)
  local key = '{MEMBERS_PREFIX}' .. channel
  local found = redis.call('HGET', key, user)
  if not found then
    -- The hash has a field for the version too.
    if known == 0 and redis.call('HLEN', key) > max_members then return false end
    redis.call('HSET', key, user, cmsgpack.pack({{info, {{me}}}}))
    announce(channel, 'added', user, info)
    if not (restoring and known == 2) then fact('member_added', channel, 'user_id', user) end
    return true
  end
  local member, holds = cmsgpack.unpack(found), false
  for _, id in ipairs(member[2]) do holds = holds or id == me end
  if not holds then table.insert(member[2], me) end
  cancel('m' .. channel .. '\\0' .. user)
  if member[1] ~= info then
    member[1] = info
    announce(channel, 'updated', user, info)
  end
  redis.call('HSET', key, user, cmsgpack.pack(member))
  return true
end
local function release(channel, user, id, delay)
  local key = '{MEMBERS_PREFIX}' .. channel
  local found = redis.call('HGET', key, user)
  if not found then return end
  local member, holders = cmsgpack.unpack(found), {{}}
  for _, holder in ipairs(member[2]) do
    if holder ~= id then holders[#holders + 1] = holder end
  end
  if #holders == #member[2] then return end
  redis.call('HSET', key, user, cmsgpack.pack({{member[1], holders}}))
  if #holders == 0 then later('m' .. channel .. '\\0' .. user, delay) end
end

-- End the registration of a gateway, a part in each call. Its users had a whole lease to return.
local function reap(id)
  register(id, 0, 0, 0)
  local key = '{GATEWAY_PREFIX}' .. id
  local fields = redis.call('HSCAN', key, 0, 'COUNT', {REAPED_PER_CALL})[2]
  for i = 1, #fields, 2 do
    local channel = fields[i]
    redis.call('HDEL', key, channel)
    if channel:sub(1, 9) == 'presence-' then
      for _, user in ipairs(redis.call('HKEYS', '{MEMBERS_PREFIX}' .. channel)) do
        if user ~= '' then release(channel, user, id, 0) end
      end
    end
    change_total(channel, -tonumber(fields[i + 1]), 0, 0)
  end
  if redis.call('HLEN', key) == 0 then redis.call('HDEL', GATEWAYS, id) end
end
local settled = {{
  v = function(channel)
    if tonumber(redis.call('HGET', CHANNELS, channel) or 1) > 0 then return end
    redis.call('HDEL', CHANNELS, channel)
    occupied(channel, false)
  end,
  m = function(item)
    local cut = item:find('\\0', 1, true)
    local channel, user = item:sub(1, cut - 1), item:sub(cut + 1)
    local found = redis.call('HGET', '{MEMBERS_PREFIX}' .. channel, user)
    if found and #cmsgpack.unpack(found)[2] == 0 then remove(channel, user) end
  end,
  n = function() end,
  p = function(channel)
    count_changed(channel, tonumber(redis.call('HGET', CHANNELS, channel) or 0))
  end
}}
local function settle()
  local due = redis.call('ZRANGEBYSCORE', DUE, '-inf', text(now), 'LIMIT', 0, {DUE_PER_CALL})
  for _, item in ipairs(due) do
    cancel(item)
    settled[item:sub(1, 1)](item:sub(2))
  end
end

local own = registration(me)
if own and (own[1] == 0 or own[3] < acknowledged or own[3] >= call)
  or not own and acknowledged > 0 then
  return {{0}}
end
-- A gateway that was away itself does not know who else only was, so it reaps nobody for a lease.
local since = own and own[1] >= now and own[2] or now
register(me, now + lease, since, call)

local reports, refused, rosters = cmsgpack.unpack(ARGV[12]), {{}}, {{}}
for _, report in ipairs(reports) do
  local channel, members = report[1], report[4]
  report_count(channel, report[2], report[3])
  for _, member in ipairs(members) do
    if member[2] == '' then
      release(channel, member[1], me, debounce)
    elseif not hold(channel, member[1], member[2], member[3]) then
      refused[#refused + 1] = channel
      refused[#refused + 1] = member[1]
    end
  end
end
for _, report in ipairs(reports) do
  if report[5] then
    local key = '{MEMBERS_PREFIX}' .. report[1]
    local roster = {{report[1], redis.call('HGET', key, '') or '0'}}
    local fields = redis.call('HGETALL', key)
    for i = 1, #fields, 2 do
      if fields[i] ~= '' then
        roster[#roster + 1] = fields[i]
        roster[#roster + 1] = cmsgpack.unpack(fields[i + 1])[1]
      end
    end
    rosters[#rosters + 1] = roster
  end
end

if registration(ARGV[10]) then register(ARGV[10], 0, 0, 0) end
if ARGV[11] == '1' and redis.call('HLEN', '{GATEWAY_PREFIX}' .. me) == 0 then
  redis.call('HDEL', GATEWAYS, me)
end
local gateways, wait = redis.call('HGETALL', GATEWAYS), lease
for i = 1, #gateways, 2 do
  local ends = cmsgpack.unpack(gateways[i + 1])[1]
  if ends == 0 or ends < now and since <= now - lease then
    reap(gateways[i])
    wait = 0
  elseif gateways[i] ~= me then
    wait = math.min(wait, math.max(ends, since + lease) - now + 1)
  end
end
settle()
local due = redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
if due[2] then wait = math.max(0, math.min(wait, due[2] - now)) end
if #messages > 0 then append(#messages, cmsgpack.pack(messages)) end
return {{1, refused, rosters, text(wait), born}}
"""
)
