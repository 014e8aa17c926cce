-- Purpose: keeps the result of a step with the claim, for ever the first one of its name.
-- KEYS: record (hash)
-- ARGV: owner · name of the step · result
-- Returns: 1 kept, now or before · 0 the claim is not this owner's, or settled
local function one(record, owner, step, result)
  local v = redis.call('HMGET', record, 'st', 'ow')
  if v[2] ~= owner or (v[1] ~= 'P' and v[1] ~= 'U') then return 0 end
  if redis.call('HSETNX', record, 's:' .. step, result) == 1 then redis.call('HINCRBY', record, 'sn', 1) end
  return 1
end
