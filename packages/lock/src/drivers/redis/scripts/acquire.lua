-- Purpose: grants a lock, or puts the token into the queue; asked again by a holder, it renews its lease.
-- KEYS: lock, as in lock-state.lua
-- ARGV: token; ttl in ms; the TTL of the key in ms; latest server time for a grant in ms; '' to hold it alone without
--   waiting, else
--   'capacity,manner,since,process,give-up time': since is when it first came, in µs, or 0; without a give-up time it
--   does not wait, and process then names a chain: what follows in this call is refused once one of it is busy
-- Returns: the fence (> 0); minus the ms until it is worth asking again (< 0); 0 when the request came too late
local broken = {}

local function one(lock, token, ttl, key_ttl, not_after, wish)
  if now_us > not_after * 1000 then return 0 end
  if wish ~= '' and broken[wish] then return -1 end
  local is_alone = wish == '' or string.sub(wish, 1, 2) == '1,'
  local value = redis.call('GET', lock)
  local fence = now_us
  if value then
    -- Free, and nobody waits: '|', 16 digits of the last fence, …, '|||'
    local is_plain = is_alone and string.byte(value) == 124 and string.sub(value, -3) == '|||'
    local last = is_plain and tonumber(string.sub(value, 2, 17))
    if not last then return library().ask(lock, value, token, ttl, wish, broken) end
    if last >= fence then fence = last + 1 end
  elseif not is_alone then
    return library().ask(lock, '|0|0|||', token, ttl, wish, broken)
  end
  redis.call('PSETEX', lock, key_ttl, token .. '|' .. digits(fence) .. '|' .. digits(now_ms + ttl) .. '|||')
  return fence
end
