-- Purpose: how a lock is kept and handed on, for the scripts beside this file.
-- A lock is one string: 'owner|fence|lease end|sharers|queue', times in ms of the server's clock.
-- owner: a token; '*' where several hold it together; '' when it is free
-- sharers: 'token,lease end;' each
-- queue: 'token,process,give-up time,capacity,manner,ttl,since;' each, in order of coming; capacity 0 is no limit;
--   manner 'f' waits for its turn, 'b' is told when the lock is free and asks again
local WAITER = '^(([^,]+),([^,]+),(%d+),(%d+),(%a),(%d+),(%d+);)'
local dead = {} -- processes that nobody listened for, so that each costs one attempt a call

local function parse(lock, value)
  local owner, fence, lease_end, sharers, queue = string.match(value, '^([^|]*)|(%d+)|(%d+)|([^|]*)|(.*)$')
  if not owner then error('not a lock: ' .. lock) end
  return { owner = owner, fence = tonumber(fence), lease_end = tonumber(lease_end), sharers = sharers, queue = queue, count = 0 }
end

local function text_of(s)
  return s.owner .. '|' .. digits(s.fence) .. '|' .. digits(s.lease_end) .. '|' .. s.sharers .. '|' .. s.queue
end

local function store(lock, s)
  redis.call('PSETEX', lock, math.max(s.lease_end - now_ms, 0) + RETENTION_MS, text_of(s))
end

-- Where the record of a token begins and ends in a list, and where its second field begins; nil if it is not there.
local function locate(list, token)
  local from = string.find(';' .. list, ';' .. token .. ',', 1, true)
  if from then return from, string.find(list, ';', from, true), from + #token + 1 end
end

local function without(list, from, to)
  return string.sub(list, 1, from - 1) .. string.sub(list, to + 1)
end

-- Forgets leases that are over, and counts those who share.
local function expire(s)
  if s.owner ~= '*' then
    if s.lease_end <= now_ms then s.owner = '' end
    return
  end
  local live, latest = {}, 0
  for token, lease_end in string.gmatch(s.sharers, '([^,]+),(%d+);') do
    if tonumber(lease_end) > now_ms then
      live[#live + 1] = token .. ',' .. lease_end .. ';'
      latest = math.max(latest, lease_end)
    end
  end
  s.sharers, s.count = table.concat(live), #live
  if s.count > 0 then s.lease_end = latest else s.owner = '' end
end

local function fits(s, capacity)
  if s.owner == '' then return true end
  return s.owner == '*' and capacity ~= 1 and (capacity == 0 or s.count < capacity)
end

-- Those who hold it together have the same fence.
local function admit(s, token, capacity, ttl)
  local lease_end = now_ms + ttl
  if s.owner == '' then s.fence = math.max(s.fence + 1, now_us) end
  if capacity == 1 then
    s.owner, s.lease_end = token, lease_end
    return
  end
  s.lease_end = s.owner == '*' and math.max(s.lease_end, lease_end) or lease_end
  s.owner, s.count = '*', s.count + 1
  s.sharers = s.sharers .. token .. ',' .. digits(lease_end) .. ';'
end

-- Takes the lock from a token. Returns whether it held it.
local function expel(s, token)
  if s.owner == token then
    s.owner = ''
    return true
  end
  local from, to = locate(s.sharers, token)
  if not from then return false end
  s.sharers = without(s.sharers, from, to)
  expire(s)
  return true
end

-- Sets the end of a sharer's lease. Returns what it was; nil if it is none.
local function prolong(s, token, lease_end)
  local from, to, field = locate(s.sharers, token)
  if not from then return nil end
  local before = tonumber(string.sub(s.sharers, field, to - 1))
  if before > now_ms then
    s.sharers = string.sub(s.sharers, 1, field - 1) .. digits(lease_end) .. string.sub(s.sharers, to)
    s.lease_end = math.max(s.lease_end, lease_end)
  end
  return before
end

-- Takes a waiter out of the queue.
local function leave(s, token)
  local from, to = locate(s.queue, token)
  if from then s.queue = without(s.queue, from, to) end
end

-- Returns false where surely nobody heard it. A push that is refused (no right to the channel) counts as heard: the
-- waiter finds its grant when it asks again.
local function push(lock, process, token, fence, ms)
  local message = table.concat({ token, digits(fence), digits(now_us), digits(ms), lock }, ',')
  local heard = redis.pcall('PUBLISH', CHANNEL .. process, message)
  if heard ~= 0 or not COUNTS_RECEIVERS then return true end
  dead[process] = true
  return false
end

-- Moves those who wait into the lock, in their order, as long as it has room; leaves out whoever is gone. Returns who
-- got in. The lease of a pushed grant is short until its holder confirms it.
local function admit_waiters(s)
  local grants, bargers = {}, ''
  while s.queue ~= '' do
    local record, token, process, give_up, capacity, manner, ttl = string.match(s.queue, WAITER)
    capacity = tonumber(capacity)
    local is_gone = tonumber(give_up) <= now_ms or dead[process]
    if not is_gone and manner == 'f' and not fits(s, capacity) then break end
    s.queue = string.sub(s.queue, #record + 1)
    if not is_gone and manner == 'b' then
      bargers = bargers .. record
    elseif not is_gone then
      local lease = math.min(tonumber(ttl), CLAIM_MS)
      admit(s, token, capacity, lease)
      grants[#grants + 1] = { token, process, lease }
    end
  end
  s.queue = bargers .. s.queue
  return grants
end

-- Hands the lock to who waits. It is written before it is pushed: a push without its write would make a second owner.
local function serve(lock, s)
  local has_granted, is_lost = false, true
  while is_lost do
    local grants = admit_waiters(s)
    is_lost = false
    if #grants > 0 then store(lock, s) end
    for _, grant in ipairs(grants) do
      local token, process, lease = unpack(grant)
      if push(lock, process, token, s.fence, lease) then
        has_granted = true
      else
        expel(s, token)
        is_lost = true
      end
    end
  end
  local _, token, process = string.match(s.queue, WAITER)
  while token and s.owner == '' and not push(lock, process, token, 0, 0) do
    leave(s, token)
    _, token, process = string.match(s.queue, WAITER)
  end
  -- Whoever comes next must look again when the short lease ends: its holder may be gone without a trace.
  if token and has_granted then push(lock, process, token, 0, math.max(s.lease_end - now_ms, 1)) end
end
