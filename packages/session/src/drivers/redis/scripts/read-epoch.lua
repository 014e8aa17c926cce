-- Purpose: the revocation epoch of a user.
-- KEYS: epoch (string)
-- ARGV: -
-- Returns: the epoch · false where there is none
local function one(key)
  return redis.call('GET', key)
end
