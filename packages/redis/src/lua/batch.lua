-- Purpose: runs one item after another, so that many calls travel as one command; an item that raises fails alone.
-- KEYS: those of every item, in order
-- ARGV: those of every item, in order
-- Returns: { the server's time in µs, then for each item what it returned, or its error }
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)

-- A whole number as text. Concatenation alone would round it to 14 digits; the items of one call share most numbers.
local texts = {}
local function digits(number)
  local text = texts[number]
  if not text then
    text = string.format('%.0f', number)
    texts[number] = text
  end
  return text
end

--<item>

local replies = { now_us }
local a = 0
for k = 0, #KEYS - 1, KEYS_PER_ITEM do
  local done, reply = pcall(ITEM_CALL)
  if not done then
    reply = redis.error_reply(type(reply) == 'table' and reply.err or reply)
  elseif reply == nil then
    reply = false
  end
  replies[#replies + 1] = reply
  a = a + ARGS_PER_ITEM
end
return replies
