-- Purpose: writes a value under a fence unless a greater one has been seen.
-- KEYS: the value, as in fenced-read.lua
-- ARGV: fence, 19 digits; retention as in fenced-read.lua; life of the value in ms, or '-' for ever; bytes
-- Returns: nil when written; the greater fence when refused
local function one(key, fence, retention, life, bytes)
  local head = redis.call('GETRANGE', key, 0, 19)
  local seen = string.match(head, '^(%d+)|$')
  if head ~= '' and (not seen or #seen ~= #fence) then error('not a fenced value: ' .. key) end
  if seen and seen > fence then return seen end
  if life == '-' then
    redis.call('SET', key, fence .. '|-|' .. bytes)
  else
    redis.call('PSETEX', key, digits(life + retention), fence .. '|' .. digits(now_ms + life) .. '|' .. bytes)
  end
  return nil
end
