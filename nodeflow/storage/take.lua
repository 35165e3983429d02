-- Takes up to n items into a lease's processing list, those that were given back first.
-- KEYS: returned, main, leases, processing list; ARGV: n, lease id
-- Returns the number of envelopes, then the items, newest first: the right end is the oldest, as in a queue.
local wanted = tonumber(ARGV[1])
local envelopes = redis.call('LRANGE', KEYS[1], -wanted, -1)
local bare = {}
if #envelopes < wanted then
  bare = redis.call('LRANGE', KEYS[2], #envelopes - wanted, -1)
end
if #envelopes + #bare == 0 then
  return {0}
end

local function move(items, source)
  for first = 1, #items, 1000 do
    redis.call('RPUSH', KEYS[4], unpack(items, first, math.min(first + 999, #items)))
  end
  if #items > 0 then
    redis.call('LTRIM', source, 0, -#items - 1)
  end
end

-- Lua has no rollback, so the lease is there before an item is moved into it.
redis.call('HSET', KEYS[3], ARGV[2], #envelopes)
move(bare, KEYS[2])
move(envelopes, KEYS[1])
local reply = {#envelopes}
for _, item in ipairs(bare) do reply[#reply + 1] = item end
for _, item in ipairs(envelopes) do reply[#reply + 1] = item end
return reply
