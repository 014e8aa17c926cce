-- Purpose: makes the fence that a majority's counters led to this node's least, only while the token has its vote.
-- KEYS: lock, as in acquire.lua; counter, the last fence of this node
-- ARGV: the beginning of the vote 'token|round|'; the fence; how long the counter outlives the lease in ms
-- Returns: 1 raised; 0 the vote is another's, or an earlier round's
local function one(lock, counter, vote, fence, retention)
  local value = redis.call('GET', lock)
  if not value or string.sub(value, 1, #vote) ~= vote then return 0 end
  local flag = string.match(value, '|(w?)$')
  redis.call('SET', lock, vote .. fence .. '|' .. flag, 'KEEPTTL')
  local last = redis.call('GET', counter)
  if not last or tonumber(last) < tonumber(fence) then
    redis.call('PSETEX', counter, redis.call('PTTL', lock) + retention, fence)
  end
  return 1
end
