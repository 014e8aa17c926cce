-- Purpose: lengthens the lease of a holder; one that has run out is not revived, for its holder was told so.
-- KEYS: lock, as in lock-state.lua
-- ARGV: token; ttl in ms; the TTL of the key in ms
-- Returns: 1 extended; 0 the token is not the owner; -1 the lease has run out
local function one(lock, token, ttl, key_ttl)
  local value = redis.call('GET', lock)
  if not value then return 0 end
  local owner, fence, lease_end, at = string.match(value, '^([^|]*)|(%d+)|(%d+)|[^|]*|()')
  if owner == '*' then return library().extend_shared(lock, value, token, ttl) end
  if owner ~= token then return 0 end
  if tonumber(lease_end) <= now_ms then return -1 end
  if string.sub(value, at) ~= '|' and now_ms + ttl < tonumber(lease_end) then return library().shorten(lock, value, ttl) end
  value = token .. '|' .. fence .. '|' .. digits(now_ms + ttl) .. '||' .. string.sub(value, at)
  redis.call('PSETEX', lock, key_ttl, value)
  return 1
end
