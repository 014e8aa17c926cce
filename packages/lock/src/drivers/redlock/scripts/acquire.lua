-- Purpose: gives this node's vote for a lock to a token when it is free; asked again by the same token, renews it.
-- KEYS: lock, holding 'token|round|fence|w': a fence only where one was agreed on, 'w' asks for a push at the release
-- ARGV: the vote 'token|round||'; the terms 'ttl in ms|latest server time for a vote in ms|w if a push is awaited'
-- Returns: 1 voted; 0 the request came too late; { rest in ms, token } of another that has the vote
local ttl, not_after, awaits_push, known -- what travels in one call has mostly the same terms
local function one(lock, vote, terms)
  if terms ~= known then
    ttl, not_after, awaits_push = string.match(terms, '^(%d+)|(%d+)|(w?)$')
    known = terms
  end
  if now_us > not_after * 1000 then return 0 end
  if redis.call('SET', lock, vote, 'NX', 'PX', ttl) then return 1 end
  local value = redis.call('GET', lock)
  local owner, round, rest = string.match(value, '^([^|]*)|(%d+)|(%d*|w?)$')
  if not owner then error('not a lock: ' .. lock) end
  local token, newest = string.match(vote, '^([^|]*)|(%d+)|')
  if owner ~= token then
    if awaits_push == 'w' and string.sub(rest, -1) ~= 'w' then redis.call('SET', lock, value .. 'w', 'KEEPTTL') end
    return { redis.call('PTTL', lock), owner }
  end
  -- A copy of an earlier round must not take a newer vote back to where its clean-up finds it.
  if tonumber(round) > tonumber(newest) then newest = round end
  redis.call('SET', lock, token .. '|' .. newest .. '|' .. rest, 'PX', ttl)
  return 1
end
