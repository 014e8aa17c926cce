-- Purpose: ends a session whose copy stands in another slot, if the copy is still what the session is.
-- KEYS: session (hash; see session-state.lua) · its index (zset: ids of a user's sessions by their absolute end, ms)
-- ARGV: version that was copied · id of the copy · how long it is remembered what the session was replaced by (ms)
-- Returns: 'left', now or before · 'changed' meanwhile · 'gone'
local function one(session, index, version, copy, remember)
  local state = library()
  local old, found = state.resolve(session)
  if not old then return found == copy and 'left' or 'gone' end
  if found ~= version then return 'changed' end
  local id = state.id(old)
  redis.call('UNLINK', old)
  redis.call('ZREM', index, id)
  -- Sent twice, a replacement finds that it was done.
  redis.call('HSET', old, 'x', copy)
  redis.call('PEXPIRE', old, remember)
  state.tell(state.prefix(old), {id})
  return 'left'
end
