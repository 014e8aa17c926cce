-- Purpose: gives an uncertain operation to somebody who knows how to finish it; its former owner has no say any more.
-- KEYS: record (hash) · running (zset: operations of policy U by end of lease, ms) · uncertain (zset: since, ms)
-- ARGV: owner · lease (ms) · retention (ms)
-- Returns: {'acquired', fence, retention (ms), step, result, step, result …} | {'gone'}
local function one(record, running, uncertain, owner, lease, retention)
  local v = redis.call('HMGET', record, 'st', 'ow', 'fe', 'po', 'mb', 'rt')
  local own = v[2] == owner and v[1] == 'P'
  if v[1] ~= 'U' and not own then return {'gone'} end
  local fence = v[3]
  if v[2] ~= owner then fence = digits(math.max((tonumber(fence) or 0) + 1, now_us)) end
  -- What the operation was begun with may be longer than what is asked for here.
  retention = math.max(tonumber(retention), tonumber(v[6]) or 0)
  local ends = digits(now_ms + lease)
  redis.call('HSET', record, 'st', 'P', 'ow', owner, 'lx', ends, 'fe', fence, 'pa', '2')
  redis.call('ZREM', uncertain, v[5])
  if v[4] == 'U' then
    redis.call('PERSIST', record)
    redis.call('ZADD', running, ends, v[5])
  else
    redis.call('PEXPIRE', record, lease + retention)
  end
  return library().append(record, {'acquired', fence, retention})
end
