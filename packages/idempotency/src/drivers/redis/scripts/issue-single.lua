-- Purpose: makes a token the only one of its slot; the one before is void.
-- KEYS: slot (string)
-- ARGV: hash of the token · how long it may be taken (ms)
-- Returns: 1
local function one(slot, token, ttl)
  redis.call('SET', slot, token, 'PX', ttl)
  return 1
end
