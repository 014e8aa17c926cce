-- Purpose: how a lock is kept, for the scripts beside this file.
-- A lock is one string: 'owner|fence|lease end|sharers|queue|watch', times in ms of the server's clock.
-- owner: a token; '*' where several hold it together; '' when it is free
-- sharers: 'token,lease end;' each; for one owner that the lock was pushed to, its process until it confirms the lease
-- queue: 'token,process,give-up time,capacity,manner,ttl,since;' each, in order of coming; capacity 0 is no limit;
--   manner 'f' waits for its turn, 'b' is told when the lock is free and asks again
-- watch: 'token,time' of the waiter that was told last when to look, for the holder may be gone without a trace
local WAITER = '^(([^,]+),([^,]+),(%d+),(%d+),(%a),(%d+),(%d+);)'
local dead = {} -- by process: whether nobody hears what is pushed to it; asked once a call
local silent = {} -- by process: whether it was given a lock and let the short lease pass

-- By position and plain search where the queue lies: a pattern over it would look at each of its characters.
local function parse(lock, value)
  local owner, fence, lease_end, sharers, from = string.match(value, '^([^|]*)|(%d+)|(%d+)|([^|]*)|()')
  local to = owner and string.find(value, '|', from, true)
  if not to then error('not a lock: ' .. lock) end
  local queue, watch = string.sub(value, from, to - 1), string.sub(value, to + 1)
  return {
    owner = owner, fence = tonumber(fence), lease_end = tonumber(lease_end), sharers = sharers, queue = queue,
    watch = watch, count = 0, stored = value,
  }
end

-- Writes what has changed since it was read or written.
local function store(lock, s)
  if s.queue == '' then s.watch = '' end
  local value = table.concat({ s.owner, digits(s.fence), digits(s.lease_end), s.sharers, s.queue, s.watch }, '|')
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
