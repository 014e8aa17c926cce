-- Purpose: extends the lease of a claim; an uncertain operation whose owner is alive is running again.
-- KEYS: record (hash) · running (zset: operations of policy U by end of lease, ms) · uncertain (zset: since, ms)
-- ARGV: owner · lease (ms) · retention (ms)
-- Returns: 1 renewed · 0 lost: somebody else has it, or it is settled
local function one(record, running, uncertain, owner, lease, retention)
  local v = redis.call('HMGET', record, 'st', 'ow', 'po', 'mb')
  if v[2] ~= owner or (v[1] ~= 'P' and v[1] ~= 'U') then return 0 end
  local ends = digits(now_ms + lease)
  redis.call('HSET', record, 'st', 'P', 'lx', ends)
  if v[1] == 'U' then redis.call('ZREM', uncertain, v[4]) end
  if v[3] == 'U' then
    redis.call('PERSIST', record)
    redis.call('ZADD', running, ends, v[4])
  else
    redis.call('PEXPIRE', record, lease + retention)
  end
  return 1
end
