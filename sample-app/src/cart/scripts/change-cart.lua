-- Purpose: adds pieces to a cart or takes them, within its bounds, and once where the change has a name
-- KEYS: lines (hash: SKU -> pieces) · changes (zset: names of those made, by time in ms)
-- ARGV: name of the change, or '' · 'S' all of it or nothing | 'F' as much as fits · pieces by SKU (JSON)
-- Returns: SKU, pieces, SKU, pieces … after it | 'full'
local function one(lines, changes, name, mode, pieces)
  if name ~= '' and redis.call('ZSCORE', changes, name) then return redis.call('HGETALL', lines) end
  local count = redis.call('HLEN', lines)
  local writes = {}
  for sku, more in pairs(cjson.decode(pieces)) do
    local had = tonumber(redis.call('HGET', lines, sku) or nil)
    local wanted = (had or 0) + more
    local has_room = had or count < MAX_LINES
    if mode == 'S' and (wanted > MAX_PIECES or (wanted > 0 and not has_room)) then return 'full' end
    if wanted <= 0 then
      writes[#writes + 1] = {'HDEL', lines, sku}
      if had then count = count - 1 end
    elseif has_room then
      writes[#writes + 1] = {'HSET', lines, sku, math.min(wanted, MAX_PIECES)}
      if not had then count = count + 1 end
    end
  end
  for _, write in ipairs(writes) do redis.call(unpack(write)) end
  redis.call('PEXPIRE', lines, CART_TTL_MS)
  if name ~= '' then
    redis.call('ZREMRANGEBYSCORE', changes, '-inf', now_ms - CHANGE_TTL_MS)
    redis.call('ZADD', changes, now_ms, name)
    redis.call('PEXPIRE', changes, CHANGE_TTL_MS)
  end
  return redis.call('HGETALL', lines)
end
