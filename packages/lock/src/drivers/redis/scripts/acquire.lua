-- Purpose: grants a lock, or puts the token into the queue; asked again by a holder, it renews its lease.
-- KEYS: lock, as in lock-state.lua
-- ARGV: token; ttl in ms; the TTL of the key in ms; latest server time for a grant in ms; '' to hold it alone without
--   waiting, else
--   'capacity,manner,since,process,give-up time': since is when it first came, in µs, or 0; without a give-up time it
--   does not wait, and process then names a chain: what follows in this call is refused once one of it is busy
-- Returns: the fence (> 0); minus the ms until it is worth asking again (< 0); 0 when the request came too late
local broken = {}

local function renewed(s, token, ttl)
  if s.owner ~= token then return prolong(s, token, now_ms + ttl) ~= nil end
  s.lease_end, s.sharers = now_ms + ttl, ''
  return true
end

-- Its place by its first coming, in µs: a waiter that lost its connection for a moment does not lose its turn.
local function place_of(s, since)
  local at = 1
  while true do
    local other = string.match(s.queue, WAITER, at)
    if not other or tonumber(string.match(other, ',(%d+);$')) > since then return at end
    at = at + #other
  end
end

local function enqueue(s, token, ttl, process, give_up, capacity, manner, since)
  if locate(s.queue, token) then return end
  local is_new = since == '0'
  local came = is_new and digits(now_us) or since
  local record = table.concat({ token, process, give_up, capacity, manner, digits(ttl), came }, ',') .. ';'
  local at = is_new and #s.queue + 1 or place_of(s, tonumber(since))
  s.queue = string.sub(s.queue, 1, at - 1) .. record .. string.sub(s.queue, at)
end

-- Those who came before the token come first; its own grant needs no push, for the answer is one. Returns whether one
-- of them still waits for its turn.
local function serve_those_before(lock, s, token, since)
  local place = locate(s.queue, token) or (since == '0' and #s.queue + 1 or place_of(s, tonumber(since)))
  local behind = string.sub(s.queue, place)
  s.queue = string.sub(s.queue, 1, place - 1)
  serve(lock, s)
  local must_wait = string.find(s.queue, ',f,', 1, true) ~= nil
  s.queue = s.queue .. behind
  return must_wait
end

-- How long until the lock may have room for it.
local function remaining(s, capacity)
  local first = s.lease_end
  if capacity ~= 1 then
    for lease_end in string.gmatch(s.sharers, ',(%d+);') do first = math.min(first, lease_end) end
  end
  return math.max(first - now_ms, 1)
end

local function ask(lock, s, token, ttl, wish)
  local capacity, manner, since, process, give_up = '1', 'f', '0', '', ''
  if wish ~= '' then capacity, manner, since, process, give_up = string.match(wish, '^(%d+),(%a),(%d+),([^,]*),(%d*)$') end
  local most = tonumber(capacity)
  expire(s)
  silent[process] = nil
  if renewed(s, token, ttl) then return s.fence end
  local must_wait = false
  if s.queue ~= '' and (s.owner == '' or s.owner == '*') then
    must_wait = serve_those_before(lock, s, token, since) and manner == 'f'
  end
  if fits(s, most) and not must_wait then
    leave(s, token)
    admit(s, token, most, ttl)
    if most ~= 1 and s.queue ~= '' then serve(lock, s) end
    return s.fence
  end
  if give_up ~= '' then
    enqueue(s, token, ttl, process, give_up, capacity, manner, since)
  elseif process ~= '' then
    broken[wish] = true
  end
  return -remaining(s, most)
end

local function one(lock, token, ttl, key_ttl, not_after, wish)
  if now_us > not_after * 1000 then return 0 end
  if wish ~= '' and broken[wish] then return -1 end
  local is_alone = wish == '' or string.sub(wish, 1, 2) == '1,'
  local value = redis.call('GET', lock)
  local fence = now_us
  if value then
    -- Free, and nobody waits: '|', 16 digits of the last fence, …, '||'
    local is_plain = is_alone and string.byte(value) == 124 and string.sub(value, -2) == '||'
    local last = is_plain and tonumber(string.sub(value, 2, 17))
    if not last then
      local s = parse(lock, value)
      local reply = ask(lock, s, token, tonumber(ttl), wish)
      store(lock, s)
      return reply
    end
    if last >= fence then fence = last + 1 end
  elseif not is_alone then
    local s = parse(lock, '|0|0||')
    admit(s, token, tonumber(string.match(wish, '^%d+')), tonumber(ttl))
    store(lock, s)
    return s.fence
  end
  redis.call('PSETEX', lock, key_ttl, token .. '|' .. digits(fence) .. '|' .. digits(now_ms + ttl) .. '||')
  return fence
end
