-- An item that came back, is delayed or is dead lies in an envelope: a line of JSON, then the element as it was
-- pushed, so that nothing in the element can change the line. `deaths` makes it suspect: it is delivered alone.
local function seal(head, element)
  head.v = 1
  return cjson.encode(head) .. '\n' .. element
end

local function is_count(value)
  return type(value) == 'number' and value >= 0 and value < 1e9 and value == math.floor(value)
end

-- The head and the element of an envelope; nil when it isn't one of ours.
local function open(envelope)
  local line, element = string.match(envelope, '^([^\n]*)\n(.*)$')
  if not line then
    return nil
  end
  local is_json, head = pcall(cjson.decode, line)
  if not is_json or type(head) ~= 'table' or head.v ~= 1 or type(head.id) ~= 'string' then
    return nil
  end
  if not is_count(head.attempt) or not is_count(head.deaths or 0) or type(head.error or '') ~= 'string' then
    return nil
  end
  return head, element
end

-- Whether an envelope's item is to be delivered alone; most are not, and needn't be opened to see that.
local function is_suspect(envelope)
  local line = string.match(envelope, '^[^\n]*')
  local head = string.find(line, '"deaths"', 1, true) and open(envelope)
  return head and head.deaths ~= nil
end

-- Puts an item into the dead letters.
local function bury(queue, head, element, reason, now)
  head.error, head.at = reason, math.floor(now / 1000)
  redis.call('ZADD', queue.dead, now, head.id)
  redis.call('HSET', queue.letters, head.id, seal(head, element))
end
