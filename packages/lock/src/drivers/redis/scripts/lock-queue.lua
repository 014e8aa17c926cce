-- Purpose: how a lock is handed on to those who wait, for the scripts beside this file.
-- Takes a waiter out of the queue.
local function leave(s, token)
  local from, to = locate(s.queue, token)
  if from then s.queue = without(s.queue, from, to) end
end

local TAIL = 1000 -- bytes: about ten waiters

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

-- Whether a waiter was told to look no later than then, and is still there to do so.
local function is_watched(s, holders, time)
  local token, at = string.match(s.watch, '^([^,]+),(%d+)$')
  if not token or tonumber(at) <= now_ms or tonumber(at) > time then return false end
  local from = locate(s.queue, token)
  local process = from and string.match(s.queue, '^[^,]+,([^,]+)', from)
  return process and not holders[process] and not silent[process]
end

-- The last record of a list whose process is none of the holders, which would be gone with its holder, and is heard.
local function last_other(list, holders)
  local found = {}
  for token, process in string.gmatch(list, '([^,;]+),([^,]+),[^;]+;') do
    if not holders[process] then found[#found + 1] = { token, process } end
  end
  for at = #found, 1, -1 do
    if not is_dead(found[at][2]) then return unpack(found[at]) end
  end
end

-- Who shall look: the last, because it will be there longest; whoever looks, the lock goes to the first. A long queue is
-- looked through only where its end holds nobody.
local function watcher(queue, holders)
  local from = string.find(queue, ';', -TAIL, true)
  local token, process
  if #queue > TAIL and from then token, process = last_other(string.sub(queue, from + 1), holders) end
  if not token then token, process = last_other(queue, holders) end
  if token then return token, process end
  return string.match(queue, '^([^,]+),([^,]+),')
end

-- Sees to it that somebody looks at a time, that of the lease's end at the latest.
local function watch(lock, s, holders, at)
  if s.queue == '' or is_watched(s, holders, at) then return end
  local token, process = watcher(s.queue, holders)
  s.watch = token .. ',' .. digits(at)
  push(lock, process, token, 0, math.max(at - now_ms, 1))
end

-- Hands the lock to who waits. It is written before it is pushed: a push without its write would make a second owner.
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
    -- It has to ask for itself. Should it stand still, another one comes.
    push(lock, process, token, 0, 0)
    watch(lock, s, { [process] = true }, now_ms + CLAIM_MS)
  elseif has_left or #grants > 0 then
    watch(lock, s, holders, s.lease_end)
  end
end
