-- Purpose: reads a session, by its id or by one that it was renewed from, and notes the use.
-- KEYS: session (hash; see session-state.lua)
-- ARGV: note the use when the last noted one is so long ago (ms) | 'never'
-- Returns: {field, value, field, value …} as the hash has them, `l` emptied, and `i` its id where it was found by
--   another one; false where there is none
local function one(session, touch_after)
  local v = redis.call('HGETALL', session)
  local key, hops = session, 0
  while v[1] == 's' and hops < 1000 do
    key, hops = string.match(session, '^.*:') .. v[2], hops + 1
    -- Raises where the slot is being moved and the successor is not here; see state.assert_here.
    redis.call('EXISTS', session, key)
    v = redis.call('HGETALL', key)
  end
  if #v == 0 then return false end
  read_clock()
  local head, used, former
  for i = 1, #v, 2 do
    local field = v[i]
    if field == 't' then used = i + 1
    elseif field == 'h' then head = v[i + 1]
    elseif field == 'l' then v[i + 1] = ''
    elseif field == 'n' then former = v[i + 1] end
  end
  if touch_after ~= 'never' and head then
    local old, grace = string.match(former or '', '^(%S+) (%d+)$')
    if old then old = string.match(session, '^.*:') .. old end
    if old and hops == 0 then
      -- The new id has arrived: from now on the old one serves only what is on its way.
      if redis.call('PTTL', old) > tonumber(grace) then redis.call('PEXPIRE', old, grace) end
      redis.call('HDEL', key, 'n')
    end
    if now_ms - v[used] >= tonumber(touch_after) then
      local expires, idle = string.match(head, '(%d+) (%d+)$')
      local ends = digits(math.min(now_ms + idle, tonumber(expires)))
      v[used] = digits(now_ms)
      redis.call('HSET', key, 't', v[used])
      redis.call('PEXPIREAT', key, ends)
      -- Somebody who never got the new id: the old one lives on as the session does.
      if old == session then redis.call('PEXPIREAT', old, ends) end
    end
  end
  if hops > 0 then
    v[#v + 1] = 'i'
    v[#v + 1] = string.match(key, '[^:]*$')
  end
  return v
end
