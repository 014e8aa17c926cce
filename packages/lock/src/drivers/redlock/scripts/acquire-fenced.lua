-- Purpose: as acquire.lua, and raises this node's fence counter with every new vote.
-- KEYS: lock, as in acquire.lua; counter, the last fence of this node
-- ARGV: the vote 'token|round||'; the terms 'ttl in ms|latest server time for a vote in ms|w if a push is awaited';
--   how long the counter outlives the lease in ms
-- Returns: the fence (> 0): the agreed one, if there is one; 0 too late; { rest in ms, token } of another
local ttl, not_after, awaits_push, known -- what travels in one call has mostly the same terms
local function one(lock, counter, vote, terms, retention)
  if terms ~= known then
    ttl, not_after, awaits_push = string.match(terms, '^(%d+)|(%d+)|(w?)$')
    known = terms
  end
  if now_us > not_after * 1000 then return 0 end
  local last = tonumber(redis.call('GET', counter) or 0)
  if redis.call('SET', lock, vote, 'NX', 'PX', ttl) then
    last = math.max(last + 1, now_us)
    redis.call('PSETEX', counter, ttl + retention, digits(last))
    return last
  end
  local value = redis.call('GET', lock)
  local owner, round, agreed, flag = string.match(value, '^([^|]*)|(%d+)|(%d*)|(w?)$')
  if not owner then error('not a lock: ' .. lock) end
  local token, newest = string.match(vote, '^([^|]*)|(%d+)|')
  if owner ~= token then
    if awaits_push == 'w' and flag == '' then redis.call('SET', lock, value .. 'w', 'KEEPTTL') end
    return { redis.call('PTTL', lock), owner }
  end
  -- A copy of an earlier round must not take a newer vote back to where its clean-up finds it.
  if tonumber(round) > tonumber(newest) then newest = round end
  redis.call('SET', lock, token .. '|' .. newest .. '|' .. agreed .. '|' .. flag, 'PX', ttl)
  if agreed ~= '' then return tonumber(agreed) end
  if last == 0 then
    last = now_us
    redis.call('PSETEX', counter, ttl + retention, digits(last))
  end
  return last
end
