-- Purpose: gives a lock back if the token holds it, and hands it to who waits; a token that waits leaves the queue.
-- KEYS: lock, as in lock-state.lua
-- ARGV: token
-- Returns: 1 released; 0 the token did not hold it
local function one(lock, token)
  local value = redis.call('GET', lock)
  if not value then return 0 end
  local length = #token
  local is_owner = string.sub(value, 1, length + 1) == token .. '|'
  if is_owner and string.sub(value, -3) == '|||' then
    redis.call('SET', lock, string.sub(value, length + 1), 'KEEPTTL')
    return 1
  end
  if not string.find(value, token, 1, true) then return 0 end
  read_clock()
  return library().give_back(lock, value, token)
end
