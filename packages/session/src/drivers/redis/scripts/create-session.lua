-- Purpose: makes a session, and its name in the index of its user, in one step with the limit.
-- KEYS: session (hash; see session-state.lua) · index (zset: ids of a user's sessions by their absolute end, ms)
-- ARGV: what if it is there or not: 'N' new, what is there stays | 'C' a copy, written over what is there | 'A' a copy,
--       written only over what is there · version · idle (ms) · absolute (ms) · '=' and the principal, or '' ·
--       meta · attributes, a list of names and "<revision>:<text>" · limit: 'R' reject or 'E' evict, and how many; or ''
-- Returns: {evicted ids, expired ids, field, value, …} (see state.reply) | 'refused' | 'gone' (for 'A')
local function one(session, index, how, version, idle, absolute, principal, meta, attributes, limit)
  local state = library()
  local own = state.resolve(session)
  if how == 'N' and own then return state.reply(own, {}, {}) end
  if how == 'A' and not own then return 'gone' end
  local prefix, evicted, expired = state.prefix(session), {}, {}
  if principal ~= '' and not own then
    evicted, expired = state.room(index, prefix, limit)
    if not evicted then return 'refused' end
  end
  redis.call('UNLINK', session)
  local fields = state.list(attributes)
  for i = 1, #fields, 2 do fields[i] = 'a:' .. fields[i] end
  state.each('HSET', session, fields)
  local expires = state.begin(session, version, idle, absolute, principal, meta)
  if principal ~= '' then state.name(index, state.id(session), expires) end
  local reply = state.reply(session, evicted, expired)
  state.tell(prefix, evicted)
  return reply
end
