-- Purpose: tells whose this node's vote is.
-- KEYS: lock, as in acquire.lua
-- ARGV: none
-- Returns: { 'token|round|fence|w', rest in ms }; nil when nobody has the vote
local function one(lock)
  local value = redis.call('GET', lock)
  if not value then return nil end
  return { value, redis.call('PTTL', lock) }
end
