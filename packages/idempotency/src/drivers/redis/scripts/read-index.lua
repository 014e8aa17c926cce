-- Purpose: reads an index of one bucket, lowest scores first.
-- KEYS: index (zset, scores in ms)
-- ARGV: how many at most · 'due' only scores up to now | 'all'
-- Returns: {member, score, member, score, …}
local function one(index, limit, which)
  local upto = which == 'due' and digits(now_ms) or '+inf'
  return redis.call('ZRANGEBYSCORE', index, '-inf', upto, 'WITHSCORES', 'LIMIT', 0, limit)
end
