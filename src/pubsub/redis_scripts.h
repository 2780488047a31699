// What Redis does as one step. Redis 5 and later, and what speaks like it.
//
// KEYS of all: the topic's stream and facts (see redis_record.h). An entry of the stream has the
// publication's id, and two fields: r, the record, and q, the id of what was kept or lost before
// it. The facts: last, the last id; kept, the last that went into the history; lost: of what
// was published up to this, something may not be kept; and for each process that publishes p and
// its number, how many of its publications were taken: those that come once more are not.
// Behind that number stands the second at which it was.
#pragma once
#include <string_view>

namespace mws {

// ARGV: process's field, number, lowest id, how many to keep (0: none of it, as wanted; -1: none
// of it, which is a loss), seconds to keep the stream, seconds to keep the facts, channel, record,
// the number of the one to this topic that was sent before it on this connection and is not known
// to have been taken (0: none). The id; or an error if that one was not taken: then all come again,
// in their order.
constexpr std::string_view kPublishScript = R"lua(
local facts = redis.call('HMGET', KEYS[2], 'last', 'kept', ARGV[1], 'lost')
local taken = facts[3] and tonumber(string.match(facts[3], '^%d+')) or 0
if taken >= tonumber(ARGV[2]) then return tonumber(facts[1] or 0) end
if taken < tonumber(ARGV[9]) then return redis.error_reply('TRYAGAIN what was sent before it was not taken') end
local last = tonumber(facts[1] or 0)
if not facts[1] then
  local stream = redis.pcall('XINFO', 'STREAM', KEYS[1])
  if not stream.err then
    for i = 1, #stream, 2 do
      if stream[i] == 'last-generated-id' then last = tonumber(string.match(stream[i + 1], '^%d+')) end
    end
  end
end
local time = redis.call('TIME')
local id = math.max(last + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]), tonumber(ARGV[3]))
local text = string.format('%.0f', id)
local before = facts[2] or facts[4] or string.format('%.0f', id - 1)
local new = {'last', text, ARGV[1], ARGV[2] .. ' ' .. time[1]}
local function put(name, value) new[#new + 1] = name; new[#new + 1] = value end
if not facts[1] then put('lost', string.format('%.0f', id - 1)) end
local count = tonumber(ARGV[4])
if count > 0 then
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], text .. '-0', 'r', ARGV[8], 'q', before)
  redis.call('EXPIRE', KEYS[1], ARGV[5])
  put('kept', text)
elseif count < 0 then
  put('lost', text)
end
redis.call('HSET', KEYS[2], unpack(new))
redis.call('EXPIRE', KEYS[2], ARGV[6])
if not facts[3] and redis.call('HLEN', KEYS[2]) > 200 then
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    local at = string.sub(all[i], 1, 1) == 'p' and tonumber(string.match(all[i + 1], ' (%d+)$') or 0)
    if at and at + 86400 < tonumber(time[1]) then redis.call('HDEL', KEYS[2], all[i]) end
  end
end
redis.call('PUBLISH', ARGV[7], text .. '\n' .. ARGV[8])
return id
)lua";

// ARGV: since, last, most bytes, how many are kept, their age in microseconds (0: any), seconds to
// keep the facts, and seconds to keep them where nothing was published (0: not at all). The last
// id; of what was published up to this id, something is not kept; how many are; 1 if there is more;
// and each entry's id and record.
constexpr std::string_view kFetchScript = R"lua(
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local facts = redis.call('HMGET', KEYS[2], 'last', 'lost', 'kept')
if not facts[2] then
  facts = {facts[1] or now, now, facts[3]}
  if ARGV[7] ~= '0' then
    redis.call('HSET', KEYS[2], 'last', string.format('%.0f', facts[1]), 'lost', string.format('%.0f', now))
  end
end
if ARGV[7] ~= '0' then
  local published = redis.call('HLEN', KEYS[2]) > 2  -- it is by some process
  redis.call('EXPIRE', KEYS[2], published and ARGV[6] or ARGV[7])
end
local since, last, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local count, age = tonumber(ARGV[4]), tonumber(ARGV[5])
local lost = tonumber(facts[2])
local function id_of(entry) return tonumber(string.match(entry[1], '^%d+')) end
local function at(id) return string.format('%.0f', id) .. '-0' end
local function record_of(entry)
  local before, record = 0, nil
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'r' then record = entry[2][i + 1] end
    if entry[2][i] == 'q' then before = tonumber(entry[2][i + 1]) or 0 end
  end
  return record, before
end
local oldest = 0
if age > 0 then oldest = math.max(now - age, 0) end
local first = redis.call('XRANGE', KEYS[1], at(oldest), '+', 'COUNT', 1)
if first[1] then
  local _, before = record_of(first[1])
  lost = math.max(lost, before)
else
  lost = math.max(lost, tonumber(facts[3] or 0))
end
local out = {tonumber(facts[1]), lost, math.min(redis.call('XLEN', KEYS[1]), count), 0}
local from = nil
if since > 0 then
  from = since + 1
elseif last > 0 and first[1] then
  local tail = redis.call('XREVRANGE', KEYS[1], '+', at(id_of(first[1])), 'COUNT', math.min(last, count))
  if #tail > 0 then from = id_of(tail[#tail]) end
end
if not from or not first[1] then return out end
from = math.max(from, id_of(first[1]))
local bytes = 0
while true do
  local part = redis.call('XRANGE', KEYS[1], at(from), '+', 'COUNT', 32)
  for _, entry in ipairs(part) do
    local record = record_of(entry)
    if record then
      bytes = bytes + #record
      if bytes > most and #out > 4 then
        out[4] = 1
        return out
      end
      out[#out + 1] = id_of(entry)
      out[#out + 1] = record
    end
  end
  if #part < 32 then return out end
  from = id_of(part[#part]) + 1
end
)lua";

// Empties the history.
constexpr std::string_view kClearScript = R"lua(
local last = redis.call('HGET', KEYS[2], 'last')
redis.call('DEL', KEYS[1])
if last then redis.call('HSET', KEYS[2], 'lost', last) end
return 1
)lua";

}  // namespace mws
