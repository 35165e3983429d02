-- Brings what is due before what waits, in the order of the times; whether there may be more of it.
local function bring_due(queue, now)
  local due = redis.call('ZRANGEBYSCORE', queue.delayed, '-inf', now, 'LIMIT', 0, 1000)
  if #due > 0 then
    push_all('LPUSH', queue.returned, due, 1, #due)
    redis.call('ZREM', queue.delayed, unpack(due))
  end
  return #due == 1000
end

-- Milliseconds until a delayed item is due; -1 when there is none.
local function wait_for_due(queue, now)
  local next_due = redis.call('ZRANGE', queue.delayed, 0, 0, 'WITHSCORES')[2]
  return next_due and math.max(0, math.ceil((tonumber(next_due) - now) / 1000)) or -1
end
