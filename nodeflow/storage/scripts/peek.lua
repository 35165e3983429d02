-- Looks at the items from place start to stop, both included; what came back is first.
-- KEYS: a queue; ARGV: start, stop (-1 is the last one of all)
-- Returns the envelopes and the bare items, each newest first.
--#include lib_keys
local queue = queue_at(1)
local returned = redis.call('LLEN', queue.returned)
local start, stop = tonumber(ARGV[1]), tonumber(ARGV[2])
if stop < 0 then
  stop = returned + redis.call('LLEN', queue.main) - 1
end
local envelopes = redis.call('LRANGE', queue.returned, -stop - 1, -start - 1)
local bare = {}
if stop >= returned then
  bare = redis.call('LRANGE', queue.main, returned - stop - 1, -math.max(start - returned, 0) - 1)
end
return {envelopes, bare}
