-- Purpose: lets an operation begin within a time. One that has begun is left as it is.
-- KEYS: record (hash)
-- ARGV: how long (ms)
-- Returns: 1
local function one(record, ttl)
  local state = redis.call('HGET', record, 'st')
  if state and state ~= 'I' then return 1 end
  redis.call('HSET', record, 'st', 'I')
  redis.call('PEXPIRE', record, ttl)
  return 1
end
