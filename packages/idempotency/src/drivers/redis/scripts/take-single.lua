-- Purpose: takes the token of a slot: compare and delete in one step, so that of many who hold it one has it.
-- KEYS: slot (string)
-- ARGV: hash of the token
-- Returns: 1 taken · 0 there is another one, or none (any more)
local function one(slot, token)
  if redis.call('GET', slot) ~= token then return 0 end
  redis.call('DEL', slot)
  return 1
end
