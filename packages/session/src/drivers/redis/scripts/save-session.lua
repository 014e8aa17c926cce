-- Purpose: writes attributes of a session, once for each name of a save; never makes a session.
-- KEYS: session (hash; see session-state.lua)
-- ARGV: the attribute that is expected · its revision, '0' absent, or '' for no expectation · name of the save ·
--       how many saves are remembered · what is set, a list of names and texts · what is removed, a list of names
-- Returns: the version, followed by the revisions of what is set where they are others | 'conflict' | 'gone'
local function revision_of(session, name)
  local kept = redis.call('HGET', session, 'a:' .. name)
  return kept and string.match(kept, '^%d+') or '0'
end

local function one(session, expected, revision, save, remembered, set, remove)
  local state = library()
  session = state.resolve(session)
  if not session then return 'gone' end
  local v = redis.call('HMGET', session, 'v', 'l')
  local saves = v[2] or ''
  set = state.list(set)
  if string.find(' ' .. saves, ' ' .. save .. ' ', 1, true) then
    local reply = {v[1]}
    for i = 1, #set, 2 do reply[#reply + 1] = revision_of(session, set[i]) end
    return table.concat(reply, ' ')
  end
  if revision ~= '' and revision_of(session, expected) ~= revision then return 'conflict' end
  local version = digits(v[1] + 1)
  saves = saves .. save .. ' '
  local _, count = string.gsub(saves, ' ', ' ')
  if count > tonumber(remembered) then saves = string.sub(saves, string.find(saves, ' ', 1, true) + 1) end
  for i = 1, #set, 2 do set[i], set[i + 1] = 'a:' .. set[i], version .. ':' .. set[i + 1] end
  set[#set + 1], set[#set + 2], set[#set + 3], set[#set + 4] = 'v', version, 'l', saves
  state.each('HSET', session, set)
  remove = state.list(remove)
  for i = 1, #remove do remove[i] = 'a:' .. remove[i] end
  state.each('HDEL', session, remove)
  return version
end
