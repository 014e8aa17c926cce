-- Purpose: keeps the results of steps in the record of an operation, as fields `s:<name>`; `sn` is how many there are.
local steps = {}

-- Adds name and result of each to a reply.
function steps.append(record, reply)
  local fields = redis.call('HGETALL', record)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 2) == 's:' then
      reply[#reply + 1] = string.sub(fields[i], 3)
      reply[#reply + 1] = fields[i + 1]
    end
  end
  return reply
end

function steps.forget(record)
  for _, field in ipairs(redis.call('HKEYS', record)) do
    if string.sub(field, 1, 2) == 's:' then redis.call('HDEL', record, field) end
  end
  redis.call('HDEL', record, 'sn')
end

return steps
