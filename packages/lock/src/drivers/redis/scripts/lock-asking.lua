-- Purpose: what the scripts beside this file do with a lock that is shared, held, or waited for.
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

-- Grants the lock to a token, or gives it a place in the queue. broken: wishes of chains of which one was busy.
local function decide(lock, s, token, ttl, wish, broken)
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

local function ask(lock, value, token, ttl, wish, broken)
  local s = parse(lock, value)
  local reply = decide(lock, s, token, tonumber(ttl), wish, broken)
  store(lock, s)
  return reply
end

-- Returns 1 extended; 0 the token is no sharer; -1 its lease has run out.
local function extend_shared(lock, value, token, ttl)
  local s = parse(lock, value)
  local before = prolong(s, token, now_ms + ttl)
  if not before then return 0 end
  if before <= now_ms then return -1 end
  if now_ms + ttl < before then
    expire(s)
    watch(lock, s, {}, now_ms + ttl)
  end
  store(lock, s)
  return 1
end

-- The holder keeps its lock for less than it had told those who wait.
local function shorten(lock, value, ttl)
  local s = parse(lock, value)
  s.lease_end, s.sharers = now_ms + ttl, ''
  watch(lock, s, {}, s.lease_end)
  store(lock, s)
  return 1
end

-- Returns 1 where the token held the lock.
local function give_back(lock, value, token)
  local s = parse(lock, value)
  local has_held = expel(s, token)
  if not has_held then leave(s, token) end
  expire(s)
  serve(lock, s, not has_held)
  store(lock, s)
  return has_held and 1 or 0
end

return { ask = ask, extend_shared = extend_shared, shorten = shorten, give_back = give_back }
