-- Purpose: an operator's verdict on an uncertain operation. Its owner, should it be alive, has no say any more.
-- KEYS: record (hash) · uncertain (zset: since, ms)
-- ARGV: target 'C' completed | 'R' released as not applied · response (target C) · retention (ms)
-- Returns: 1 resolved · 0 not uncertain (any more)
local function one(record, uncertain, target, response, retention)
  local v = redis.call('HMGET', record, 'st', 'mb', 'sn', 'rt')
  if v[1] ~= 'U' then return 0 end
  redis.call('HSET', record, 'st', target, 'ow', '')
  redis.call('ZREM', uncertain, v[2])
  if target == 'C' then
    redis.call('HSET', record, 'rs', response)
  else
    redis.call('HDEL', record, 'fp', 'pa')
  end
  if v[3] then library().forget(record) end
  -- What the operation was begun with may be longer than what is asked for here.
  redis.call('PEXPIRE', record, math.max(tonumber(retention), tonumber(v[4]) or 0))
  return 1
end
