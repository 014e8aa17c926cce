-- Purpose: ends sessions of a group, and takes them out of its index in the same step.
-- KEYS: index (zset: ids of a user's sessions by their absolute end, ms)
-- ARGV: what the keys of the group's sessions begin with · ids, a space between them; '*' all that the index names ·
--       id that is spared, or ''
-- Returns: the ids of those that ended, a space between them
local function one(index, prefix, ids, except)
  local state = library()
  local asked = ids == '*' and redis.call('ZRANGE', index, 0, -1) or {}
  if ids ~= '*' then
    for id in string.gmatch(ids, '%S+') do asked[#asked + 1] = id end
  end
  state.assert_here(index, prefix, asked)
  if except ~= '' then state.assert_here(index, prefix, {except}) end
  local spared = except ~= '' and state.resolve(prefix .. except)
  local doomed, ended = {}, {}
  if ids == '*' then
    doomed = asked
  else
    for _, id in ipairs(asked) do
      local key = state.resolve(prefix .. id)
      if key then doomed[#doomed + 1] = state.id(key) end
    end
  end
  local unnamed = {}
  for _, id in ipairs(doomed) do
    local key = prefix .. id
    if key ~= spared then
      unnamed[#unnamed + 1] = id
      if redis.call('UNLINK', key) == 1 then ended[#ended + 1] = id end
    end
  end
  state.each('ZREM', index, unnamed)
  state.tell(prefix, ended)
  return table.concat(ended, ' ')
end
