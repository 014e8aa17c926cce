-- Purpose: ends a claim on behalf of its owner, from running or uncertain. Repeated, it answers as the first time.
-- KEYS: record (hash) · running (zset: operations of policy U by end of lease, ms) · uncertain (zset: since, ms)
-- ARGV: owner · target 'C' completed | 'R' released | 'N' released as not applied | 'U' uncertain ·
--       response (target C) · retention (ms; not for target U)
-- Returns: 1 settled as asked · 0 somebody else has the say, nothing was changed
-- At last: without a right to the channel it raises, and then the rest is done.
local function announce(record, state)
  redis.call('HDEL', record, 'aw')
  redis.call('PUBLISH', record, state)
end

local function one(record, running, uncertain, owner, target, response, retention)
  local state = target == 'N' and 'R' or target
  local v = redis.call('HMGET', record, 'st', 'ow', 'mb', 'pa', 'sn', 'aw')
  if v[2] ~= owner then return 0 end
  if v[1] == state then return 1 end
  if v[1] ~= 'P' and v[1] ~= 'U' then return 0 end
  redis.call('ZREM', running, v[3])
  if state == 'U' then
    read_clock()
    -- A renewal on its way or an adoption sets it running again; when that one vanishes nobody may simply begin.
    redis.call('HSET', record, 'st', 'U', 'po', 'U')
    redis.call('PERSIST', record)
    redis.call('ZADD', uncertain, now_ms, v[3])
    if v[6] then announce(record, state) end
    return 1
  end
  if v[1] == 'U' then redis.call('ZREM', uncertain, v[3]) end
  -- The owner stays, so that a resent command is known; so does the fence, so that the next one is higher.
  if state == 'C' then
    redis.call('HSET', record, 'st', 'C', 'rs', response)
  else
    redis.call('HSET', record, 'st', 'R')
  end
  -- This claim did nothing; what an earlier one may have done is still bound to its payload.
  local forgets = target == 'N' and v[4] == '0'
  if forgets then redis.call('HDEL', record, 'fp') end
  if v[5] and (forgets or state == 'C') then library().forget(record) end
  redis.call('PEXPIRE', record, retention)
  if v[6] then announce(record, state) end
  return 1
end
