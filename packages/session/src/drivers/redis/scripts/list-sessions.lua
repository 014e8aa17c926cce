-- Purpose: reads the sessions that an index names, those that end last first, and forgets the ones that have run out.
-- KEYS: index (zset: ids of a user's sessions by their absolute end, ms)
-- ARGV: what the keys of the group's sessions begin with · how many at most
-- Returns: {expired ids, id, h, t, m, p, id, h, t, m, p …} (see session-state.lua)
local function one(index, prefix, most)
  local state = library()
  local expired, reply = {}, {''}
  local ids = redis.call('ZREVRANGE', index, 0, -1)
  state.assert_here(index, prefix, ids)
  for _, id in ipairs(ids) do
    if #reply > most * 5 then break end
    local v = redis.call('HMGET', prefix .. id, 'h', 't', 'm', 'p')
    if v[1] then
      reply[#reply + 1] = id
      for i = 1, 4 do reply[#reply + 1] = v[i] end
    else
      expired[#expired + 1] = id
    end
  end
  state.each('ZREM', index, expired)
  reply[1] = table.concat(expired, ' ')
  return reply
end
