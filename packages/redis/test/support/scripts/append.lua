-- Purpose: appends to a string, or fails when told to.
-- KEYS: the string
-- ARGV: what to append; 'raise' raises a Lua error, 'nothing' returns nil
-- Returns: the new value
local function one(key, text)
  if text == 'raise' then error('told to') end
  if text == 'nothing' then return nil end
  redis.call('APPEND', key, text)
  return redis.call('GET', key)
end
