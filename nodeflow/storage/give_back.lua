-- Gives a lease's items back, in order, as envelopes with the attempt counted up.
-- An envelope is a line of JSON, then the element as it was pushed: what isn't JSON can't change the line.
-- KEYS: returned, leases, processing list; ARGV: lease id
-- Returns how many items were given back; 0 when the lease is not open.
local envelopes = tonumber(redis.call('HGET', KEYS[2], ARGV[1]))
if not envelopes then
  return 0
end
local items = redis.call('LRANGE', KEYS[3], 0, -1)
local bare = #items - envelopes
for place, item in ipairs(items) do
  if place <= bare then
    local id = ARGV[1] .. '.' .. (#items - place)
    items[place] = '{"attempt":2,"id":"' .. id .. '"}\n' .. item
  else
    local attempt, rest = string.match(item, '^{"attempt":(%d+)(.*)$')
    items[place] = '{"attempt":' .. string.format('%d', attempt + 1) .. rest
  end
end
for first = 1, #items, 1000 do
  redis.call('RPUSH', KEYS[1], unpack(items, first, math.min(first + 999, #items)))
end
redis.call('DEL', KEYS[3])
redis.call('HDEL', KEYS[2], ARGV[1])
return #items
