-- Purpose: takes the vote back from a token, or from one round of it, and wakes those who wait.
-- KEYS: lock, as in acquire.lua; also the channel of its waiters
-- ARGV: the beginning of the vote, 'token|' or 'token|round|'
-- Returns: 1 released; 0 the vote is another's or nobody's
local function one(lock, vote)
  local value = redis.call('GET', lock)
  if not value or string.sub(value, 1, #vote) ~= vote then return 0 end
  redis.call('DEL', lock)
  if string.sub(value, -1) == 'w' then redis.call('PUBLISH', lock, '') end
  return 1
end
