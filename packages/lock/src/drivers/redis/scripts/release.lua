-- Purpose: gives a lock back if the token owns it, keeps its fence, and wakes those who wait.
-- KEYS: lock, as in acquire.lua; also the channel of its waiters
-- ARGV: token
-- Returns: 1 released; 0 the token is not the owner
local function one(lock, token)
  local value = redis.call('GET', lock)
  local length = #token
  if not value or string.sub(value, 1, length + 1) ~= token .. '|' then return 0 end
  local has_waiters = string.sub(value, -1) == 'w'
  redis.call('SET', lock, string.sub(value, length + 1, has_waiters and -2 or -1), 'KEEPTTL')
  if has_waiters then redis.call('PUBLISH', lock, '') end
  return 1
end
