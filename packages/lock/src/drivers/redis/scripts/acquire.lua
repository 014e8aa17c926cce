-- Purpose: grants a lock to a token when nobody else holds it; asked again by the holder, it renews the lease.
-- KEYS: lock, holding 'token|fence|lease end in ms|waiters': an empty token is a released lock, 'w' asks for a push
-- ARGV: token; ttl in ms; latest server time for a grant in ms; TTL of the key in ms; 1 if a push is awaited
-- Returns: the fence (> 0); minus the rest of the other's lease in ms (< 0); 0 when the request came too late
local function one(lock, token, ttl, not_after, key_ttl, awaits_push)
  if now_us > not_after * 1000 then return 0 end
  local fence, waiters = now_us, ''
  local value = redis.call('GET', lock)
  if value then
    local owner, last, lease_end, flag = string.match(value, '^([^|]*)|(%d+)|(%d+)|(w?)$')
    if not owner then error('not a lock: ' .. lock) end
    if owner == token then
      fence, waiters = tonumber(last), flag
    elseif owner ~= '' and tonumber(lease_end) > now_ms then
      if awaits_push == '1' and flag == '' then redis.call('SET', lock, value .. 'w', 'KEEPTTL') end
      return now_ms - lease_end
    else
      fence = math.max(tonumber(last) + 1, now_us)
    end
  end
  value = token .. '|' .. digits(fence) .. '|' .. digits(now_ms + ttl) .. '|' .. waiters
  redis.call('PSETEX', lock, key_ttl, value)
  return fence
end
