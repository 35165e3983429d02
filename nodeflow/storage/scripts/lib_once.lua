-- A step that is sent again because its reply was lost is answered with what it did the first time.
-- Each step has a lane, in which no other is under way, and a number that only grows within the lane.
local function done_before(sent, lane, number)
  local last = redis.call('GET', sent .. ':' .. lane)
  if not last then
    return nil
  end
  local seen, reply = string.match(last, '^(%d+):(.*)$')
  if tonumber(seen) < tonumber(number) then
    return nil
  end
  return tonumber(reply) or cjson.decode(reply)
end

local function remember(sent, lane, number, reply)
  local text = type(reply) == 'number' and reply or cjson.encode(reply)
  redis.call('SET', sent .. ':' .. lane, number .. ':' .. text, 'EX', 900)
  return reply
end
