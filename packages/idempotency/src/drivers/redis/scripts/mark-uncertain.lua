-- Purpose: marks a running operation of policy U as uncertain when its lease is over.
-- KEYS: record (hash) · running (zset: operations of policy U by end of lease, ms) · uncertain (zset: since, ms)
-- ARGV: member of the zsets
-- Returns: 1 marked · 0 still running, or ended meanwhile
local function one(record, running, uncertain, member)
  local v = redis.call('HMGET', record, 'st', 'lx')
  if v[1] ~= 'P' then
    -- The record was removed by hand: nobody else would take its name out of the index.
    redis.call('ZREM', running, member)
    return 0
  end
  if tonumber(v[2]) > now_ms then return 0 end
  redis.call('HSET', record, 'st', 'U')
  redis.call('ZREM', running, member)
  redis.call('ZADD', uncertain, now_ms, member)
  return 1
end
