-- Purpose: replaces a session by its successor, in one step with both indexes and the limit.
-- KEYS: session (hash; see session-state.lua) · its index (zset: ids of a user's sessions by their absolute end, ms) ·
--       successor (hash) · its index
-- ARGV: manner 'login' | 'reset' | 'renew' · grace (ms; renew) · idle (ms) · absolute (ms) · '=' and the principal, or
--       '' · meta · limit: 'R' reject or 'E' evict, and how many; or ''
-- Returns: {evicted ids, expired ids, field, value, …} (see state.reply) | 'renewed' by somebody else | 'refused' | 'gone'
local function renew(state, session, index, successor, grace)
  local v = redis.call('HMGET', session, 'h', 'p')
  local created, expires, idle = string.match(v[1], '^(%d+) %d+ (%d+) (%d+)$')
  local id, old = state.id(successor), state.id(session)
  redis.call('RENAME', session, successor)
  redis.call('HSET', successor, 'h', table.concat({created, digits(now_ms), expires, idle}, ' '), 'n', old .. ' ' .. grace)
  redis.call('HSET', session, 's', id)
  redis.call('PEXPIREAT', session, digits(math.min(now_ms + idle, tonumber(expires))))
  if v[2] then
    redis.call('ZREM', index, old)
    state.name(index, id, expires)
  end
  local reply = state.reply(successor, {}, {})
  redis.pcall('PUBLISH', session, id)
  return reply
end

local function one(session, index, successor, new_index, manner, grace, idle, absolute, principal, meta, limit)
  local state = library()
  local own = state.resolve(successor)
  if own then return state.reply(own, {}, {}) end
  local old, version = state.resolve(session)
  if not old then return 'gone' end
  if manner == 'renew' then
    if old ~= session then return 'renewed' end
    return renew(state, session, index, successor, grace)
  end
  local prefix, evicted, expired = state.prefix(successor), {}, {}
  if principal ~= '' then
    evicted, expired = state.room(new_index, prefix, limit, index == new_index and state.id(old) or nil)
    if not evicted then return 'refused' end
  end
  redis.call('ZREM', index, state.id(old))
  if manner == 'login' then
    redis.call('RENAME', old, successor)
    redis.call('HDEL', successor, 'p', 'l', 'n')
  else
    redis.call('UNLINK', old, successor)
  end
  local expires = state.begin(successor, digits(version + 1), idle, absolute, principal, meta)
  if principal ~= '' then state.name(new_index, state.id(successor), expires) end
  local reply = state.reply(successor, evicted, expired)
  state.tell(prefix, evicted)
  state.tell(state.prefix(old), {state.id(old)})
  return reply
end
