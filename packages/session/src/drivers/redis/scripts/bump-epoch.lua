-- Purpose: gives a user a revocation epoch that is higher than any before, those that are forgotten included.
-- KEYS: epoch (string)
-- ARGV: how long it is remembered (ms)
-- Returns: the epoch, microseconds of this server's clock or more
local function one(key, ttl)
  local last = tonumber(redis.call('GET', key)) or 0
  local epoch = digits(math.max(last + 1, now_us))
  redis.call('SET', key, epoch, 'PX', ttl)
  return epoch
end
