-- Purpose: claims an operation, or says why not: one atomic step, takeover included.
-- KEYS: record (hash) · running (zset: operations of policy U by end of lease, ms) · uncertain (zset: since, ms)
-- ARGV: fingerprint · owner · lease (ms) · retention (ms) · policy 'U' uncertain | 'R' retry · member of the zsets ·
--       not after (epoch ms of this server) · how: '' | 'I' only if issued | 'W' announce the next change if busy | 'IW'
-- Returns: {'acquired', fence, 0|1 recovered, step, result, step, result …} | '=' and the response of what is completed |
--       {'busy', ms} | 'mismatch' | 'uncertain' | 'absent' | 'late'; no table where the clock is not needed
local function one(record, running, uncertain, fingerprint, owner, lease, retention, policy, member, not_after, how)
  local v = redis.call('HMGET', record, 'st', 'fp', 'ow', 'lx', 'fe', 'po', 'mb', 'rs', 'pa', 'sn')
  local state, own, fence, past = v[1], v[3] == owner, v[5], v[9] or '0'
  if v[2] and v[2] ~= fingerprint then return 'mismatch' end
  if state == 'C' then return '=' .. v[8] end
  if state == 'R' and own then return 'late' end
  if not state and string.sub(how, 1, 1) == 'I' then return 'absent' end
  read_clock()
  if own then
    policy, member = v[6], v[7]
    redis.call('ZREM', uncertain, member)
  else
    if state == 'U' then return 'uncertain' end
    if state == 'P' and tonumber(v[4]) > now_ms then
      if string.sub(how, -1) == 'W' then redis.call('HSET', record, 'aw', '1') end
      return {'busy', v[4] - now_ms}
    end
    if state == 'P' and v[6] == 'U' then
      redis.call('HSET', record, 'st', 'U')
      redis.call('ZREM', running, v[7])
      redis.call('ZADD', uncertain, now_ms, v[7])
      return 'uncertain'
    end
    if now_ms > tonumber(not_after) then return 'late' end
    -- The clock keeps fences rising when the record, and the last fence with it, was deleted.
    fence = digits(math.max((tonumber(fence) or 0) + 1, now_us))
    if state == 'P' then past = '2' elseif v[2] and past == '0' then past = '1' end
  end
  local ends = digits(now_ms + lease)
  redis.call('HSET', record, 'st', 'P', 'fp', fingerprint, 'ow', owner, 'lx', ends, 'fe', fence, 'po', policy, 'mb', member, 'pa', past, 'rt', retention)
  if policy == 'U' then redis.call('ZADD', running, ends, member) end
  -- A running record of policy U must not vanish before somebody knows; that of policy R must outlive its lease.
  if policy == 'U' then redis.call('PERSIST', record) else redis.call('PEXPIRE', record, lease + retention) end
  local reply = {'acquired', fence, past == '2' and 1 or 0}
  return v[10] and library().append(record, reply) or reply
end
