-- Purpose: runs one item after another, so that many calls travel as one command; an item that raises fails alone.
-- KEYS: those of every item, in order
-- ARGV: those that all items share, then those of every item, in order
-- Returns: { the server's time in µs, then for each item what it returned, or its error }; a lone item raises, and
--   where the clock was not read its result is all
local now_us, now_ms

local function read_clock()
  if now_us then return end
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
  now_ms = math.floor(now_us / 1000)
end

-- A whole number as text: concatenation alone would round it to 14 digits.
local function digits(number)
  return string.format('%d', number)
end

--<item>

if not IS_LAZY then read_clock() end
local a, k = SHARED_ARGS, 0
if #KEYS == KEYS_PER_ITEM then
  local reply = one(ITEM_ARGUMENTS)
  if not now_us then return reply end
  if reply == nil then reply = false end
  return { now_us, reply }
end

local replies = { 0 }
for item = 1, #KEYS / KEYS_PER_ITEM do
  local done, reply = pcall(one, ITEM_ARGUMENTS)
  if not done then
    reply = redis.error_reply(type(reply) == 'table' and reply.err or reply)
  elseif reply == nil then
    reply = false
  end
  replies[item + 1] = reply
  k, a = k + KEYS_PER_ITEM, a + ARGS_PER_ITEM
end
replies[1] = now_us or 0
return replies
