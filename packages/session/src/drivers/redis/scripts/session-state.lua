-- Purpose: what scripts that change sessions share. A session is a hash: `h` "created issued expires idle" (ms), `t`
--   last noted use (ms), `v` version, `m` meta, `p` principal, `l` the last saves, `n` "former id, grace (ms)" until the
--   id is first used, and `a:<name>` "<revision>:<text>" for each attribute. A former id is a hash of `s`, its successor,
--   alone; on a Cluster one that was replaced into another slot is one of `x`, what it was replaced by.
--   Keys that are derived from an id of the same group share its hash tag, and so the slot of the keys that are declared.
local state = {}
local MOST_ARGUMENTS = 4000
local MOST_HOPS = 1000

function state.prefix(key)
  return string.match(key, '^.*:')
end

function state.id(key)
  return string.match(key, '[^:]*$')
end

-- Raises where some of the keys are not on this server because their slot is being moved: they would pass for sessions
-- that have run out. One command with several keys, since that alone is refused then.
function state.assert_here(key, prefix, ids)
  local keys = {}
  for i = 1, #ids do keys[i] = prefix .. ids[i] end
  state.each('EXISTS', key, keys)
end

-- The key of the live session that a key leads to, and its version; or false, and what the id was replaced by.
function state.resolve(key)
  for _ = 1, MOST_HOPS do
    local v = redis.call('HMGET', key, 's', 'v', 'x')
    if not v[1] then return v[2] and key, v[2] or v[3] end
    local prefix = state.prefix(key)
    state.assert_here(key, prefix, {v[1]})
    key = prefix .. v[1]
  end
  return false
end

-- The strings of a list "<bytes>:<string><bytes>:<string>…".
function state.list(text)
  local list, from = {}, 1
  while from <= #text do
    local colon = string.find(text, ':', from, true)
    local last = colon + tonumber(string.sub(text, from, colon - 1))
    list[#list + 1] = string.sub(text, colon + 1, last)
    from = last + 1
  end
  return list
end

-- A command with more arguments than Lua could pass at once.
function state.each(command, key, arguments)
  for from = 1, #arguments, MOST_ARGUMENTS do
    redis.call(command, key, unpack(arguments, from, math.min(from + MOST_ARGUMENTS - 1, #arguments)))
  end
end

-- Times begin now. The end of the key is the end of the session.
function state.begin(key, version, idle, absolute, principal, meta)
  local now, expires = digits(now_ms), digits(now_ms + absolute)
  redis.call('HSET', key, 'h', table.concat({now, now, expires, idle}, ' '), 't', now, 'v', version, 'm', meta)
  if principal ~= '' then redis.call('HSET', key, 'p', string.sub(principal, 2)) end
  redis.call('PEXPIREAT', key, digits(math.min(now_ms + idle, now_ms + absolute)))
  return expires
end

-- The index lives as long as the last session that it names could.
function state.name(index, id, expires)
  redis.call('ZADD', index, expires, id)
  redis.call('PEXPIREAT', index, redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2])
end

local function created(key)
  return tonumber(string.match(redis.call('HGET', key, 'h'), '^%d+'))
end

-- Makes room for one more session of a user, not counting one that leaves.
-- Returns evicted ids, expired ids; nothing where there is no room, and then nothing was changed.
function state.room(index, prefix, limit, leaving)
  local evicted, expired, live = {}, {}, {}
  local policy, most = string.match(limit, '^(%a)(%d+)$')
  -- Without a limit a few of those that end first, so that the index does not fill with what has run out.
  for _, id in ipairs(redis.call('ZRANGE', index, 0, policy and -1 or 15)) do
    if redis.call('EXISTS', prefix .. id) == 0 then
      expired[#expired + 1] = id
    elseif id ~= leaving then
      live[#live + 1] = id
    end
  end
  local surplus = policy and #live + 1 - most or 0
  if surplus > 0 then
    if policy == 'R' then return nil end
    local age = {}
    for _, id in ipairs(live) do age[id] = created(prefix .. id) end
    table.sort(live, function(a, b) return age[a] < age[b] or (age[a] == age[b] and a < b) end)
    for i = 1, surplus do
      evicted[i] = live[i]
      redis.call('UNLINK', prefix .. live[i])
    end
  end
  state.each('ZREM', index, evicted)
  state.each('ZREM', index, expired)
  return evicted, expired
end

-- Tells who watches that sessions have ended. A user without a right to the channels does without: whoever watches is
-- refused his subscription, and told of that, while a step that has been done must not be answered as failed.
function state.tell(prefix, ids)
  for _, id in ipairs(ids) do redis.pcall('PUBLISH', prefix .. id, '') end
end

-- A reply: evicted ids, expired ids, then the session as fields and values, and the id that it was found by.
function state.reply(key, evicted, expired)
  local reply = redis.call('HGETALL', key)
  reply[#reply + 1] = 'i'
  reply[#reply + 1] = state.id(key)
  table.insert(reply, 1, table.concat(expired, ' '))
  table.insert(reply, 1, table.concat(evicted, ' '))
  return reply
end

return state
