-- Purpose: deletes a value under a fence unless a greater one has been seen, and keeps the fence.
-- KEYS: the value, as in fenced-read.lua
-- ARGV: fence, 19 digits; retention as in fenced-read.lua
-- Returns: nil when there is no value any longer; the greater fence when refused
local function one(key, fence, retention)
  local head = redis.call('GETRANGE', key, 0, 19)
  local seen = string.match(head, '^(%d+)|$')
  if head ~= '' and (not seen or #seen ~= #fence) then error('not a fenced value: ' .. key) end
  if seen and seen > fence then return seen end
  redis.call('PSETEX', key, retention, fence .. '||')
  return nil
end
