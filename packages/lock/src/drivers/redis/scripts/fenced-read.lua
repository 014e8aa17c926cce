-- Purpose: reads a value under a fence and raises the fence, so that no earlier holder writes after this read.
-- KEYS: the value, as 'fence, 19 digits|end|bytes'; end: empty without a value, '-' for ever, else server time in ms
-- ARGV: fence, 19 digits; how long a fence is kept when nothing else keeps it, in ms
-- Returns: the bytes; nil when there is no value; { the greater fence } when refused
local function one(key, fence, retention)
  local stored = redis.call('GET', key)
  if not stored then
    redis.call('PSETEX', key, retention, fence .. '||')
    return nil
  end
  local seen, ends, first = string.match(stored, '^(%d+)|(%-?%d*)|()')
  if not seen or #seen ~= #fence then error('not a fenced value: ' .. key) end
  -- Of one length, so the order of the texts is that of the numbers; numbers of Lua would lose the last digits.
  if seen > fence then return { seen } end
  if ends ~= '-' then
    local left = (tonumber(ends) or 0) - now_ms
    if left <= 0 then
      redis.call('PSETEX', key, retention, fence .. '||')
      return nil
    end
    redis.call('PEXPIRE', key, digits(left + retention))
  end
  if seen ~= fence then redis.call('SETRANGE', key, 0, fence) end
  return string.sub(stored, first)
end
