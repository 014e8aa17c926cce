-- Purpose: lengthens the vote that a token has.
-- KEYS: lock, as in acquire.lua
-- ARGV: the beginning of the vote 'token|'; ttl in ms
-- Returns: 1 extended; 0 nobody has the vote; -1 another has it
local function one(lock, vote, ttl)
  local value = redis.call('GET', lock)
  if not value then return 0 end
  if string.sub(value, 1, #vote) ~= vote then return -1 end
  redis.call('PEXPIRE', lock, ttl)
  return 1
end
