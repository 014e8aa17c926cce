-- Purpose: how a lock is kept and handed on, for the scripts beside this file.
-- A lock is one string: 'owner|fence|lease end|sharers|queue', times in ms of the server's clock.
-- owner: a token; '*' where several hold it together; '' when it is free
-- sharers: 'token,lease end;' each; for one owner that the lock was pushed to, its process until it confirms the lease
-- queue: 'token,process,give-up time,capacity,manner,ttl,since;' each, in order of coming; capacity 0 is no limit;
--   manner 'f' waits for its turn, 'b' is told when the lock is free and asks again
local WAITER = '^(([^,]+),([^,]+),(%d+),(%d+),(%a),(%d+),(%d+);)'
local dead = {} -- by process: whether nobody hears what is pushed to it; asked once a call
local silent = {} -- by process: whether it was given a lock and let the short lease pass

local function parse(lock, value)
  local owner, fence, lease_end, sharers, queue = string.match(value, '^([^|]*)|(%d+)|(%d+)|([^|]*)|(.*)$')
  if not owner then error('not a lock: ' .. lock) end
  return {
    owner = owner, fence = tonumber(fence), lease_end = tonumber(lease_end), sharers = sharers, queue = queue,
    count = 0, stored = value,
  }
end

-- Writes what has changed since it was read or written.
local function store(lock, s)
  local value = table.concat({ s.owner, digits(s.fence), digits(s.lease_end), s.sharers, s.queue }, '|')
  if value == s.stored then return end
  redis.call('PSETEX', lock, math.max(s.lease_end - now_ms, 0) + RETENTION_MS, value)
  s.stored = value
end

-- Where the record of a token begins and ends in a list, and where its second field begins; nil if it is not there.
local function locate(list, token)
  local from = 0
  repeat
    from = string.find(list, token .. ',', from + 1, true)
    if not from then return nil end
  until from == 1 or string.byte(list, from - 1) == 59
  return from, string.find(list, ';', from, true), from + #token + 1
end

local function without(list, from, to)
  return string.sub(list, 1, from - 1) .. string.sub(list, to + 1)
end

-- Forgets leases that are over, and counts those who share.
local function expire(s)
  if s.owner ~= '*' then
    if s.lease_end > now_ms then return end
    if s.sharers ~= '' then silent[s.sharers] = true end
    s.owner, s.sharers = '', ''
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
local function admit(s, token, capacity, ttl, process)
  local lease_end = now_ms + ttl
  if s.owner == '' then s.fence = math.max(s.fence + 1, now_us) end
  if capacity == 1 then
    s.owner, s.lease_end, s.sharers = token, lease_end, process or ''
    return
  end
  s.lease_end = s.owner == '*' and math.max(s.lease_end, lease_end) or lease_end
  s.owner, s.count = '*', s.count + 1
  s.sharers = s.sharers .. token .. ',' .. digits(lease_end) .. ';'
end

-- Takes the lock from a token. Returns whether it held it.
local function expel(s, token)
  if s.owner == token then
    s.owner, s.sharers = '', ''
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

-- Asked before a grant is written, because a push cannot be taken back: one that nobody near this server hears may yet
-- reach its waiter by way of a replica. Where it cannot be told, a process counts as alive, and costs a short lease.
local function is_dead(process)
  if dead[process] == nil then
    local listeners = COUNTS_RECEIVERS and redis.pcall('PUBSUB', 'NUMSUB', CHANNEL .. process)
    dead[process] = type(listeners) == 'table' and listeners[2] == 0
  end
  return dead[process]
end

-- Fence 0: look again after so many ms. One that is refused (no right to the channel) is found when its waiter asks.
local function push(lock, process, token, fence, ms)
  local message = table.concat({ token, digits(fence), digits(now_us), digits(ms), lock }, ',')
  redis.pcall('PUBLISH', CHANNEL .. process, message)
end

-- Whether a waiter leaves the queue without the lock. One whose process was silent may yet live: it is told to come back,
-- to its old place.
local function is_gone(lock, process, token, give_up)
  if tonumber(give_up) <= now_ms or is_dead(process) then return true end
  if silent[process] then push(lock, process, token, 0, 0) end
  return silent[process]
end

-- Moves those who wait into the lock, in their order, as long as it has room; leaves out whoever is gone. Returns who
-- got in. The lease of a pushed grant is short until its holder confirms it.
local function admit_waiters(lock, s)
  local grants, bargers, at = {}, {}, 1
  while at <= #s.queue do
    local record, token, process, give_up, capacity, manner, ttl = string.match(s.queue, WAITER, at)
    capacity = tonumber(capacity)
    if not is_gone(lock, process, token, give_up) then
      if manner == 'b' then
        bargers[#bargers + 1] = record
      elseif fits(s, capacity) then
        local lease = math.min(tonumber(ttl), CLAIM_MS)
        admit(s, token, capacity, lease, process)
        grants[#grants + 1] = { token, process, lease }
      else
        break
      end
    end
    at = at + #record
  end
  s.queue = table.concat(bargers) .. string.sub(s.queue, at)
  return grants
end

-- Who shall look when the lease ends, for its holder may be gone without a trace: the first of another process than the
-- holder's, which would be gone too; else the first.
local function first_to_look(queue, holders)
  for token, process in string.gmatch(queue, '([^,;]+),([^,]+),[^;]+;') do
    if not holders[process] and not is_dead(process) then return token, process end
  end
  return string.match(queue, '^([^,]+),([^,]+),')
end

-- Hands the lock to who waits. It is written before it is pushed: a push without its write would make a second owner.
-- has_left: a waiter left that may have been the one to look.
local function serve(lock, s, has_left)
  local grants, holders = admit_waiters(lock, s), {}
  if s.owner ~= '*' then holders[s.sharers] = true end
  if #grants > 0 then store(lock, s) end
  for _, grant in ipairs(grants) do
    local token, process, lease = unpack(grant)
    holders[process] = true
    push(lock, process, token, s.fence, lease)
  end
  local _, token, process, _, capacity = string.match(s.queue, WAITER)
  if not token then return end
  if fits(s, tonumber(capacity)) then
    push(lock, process, token, 0, 0)
  elseif has_left or #grants > 0 then
    token, process = first_to_look(s.queue, holders)
    push(lock, process, token, 0, math.max(s.lease_end - now_ms, 1))
  end
end
