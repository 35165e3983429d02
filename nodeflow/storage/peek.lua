-- Looks at the items from place start to stop, both included; what was given back comes first.
-- KEYS: returned, main; ARGV: start, stop (-1 is the last one of all)
-- Returns the envelopes and the bare items, each newest first.
local returned = redis.call('LLEN', KEYS[1])
local start, stop = tonumber(ARGV[1]), tonumber(ARGV[2])
if stop < 0 then
  stop = returned + redis.call('LLEN', KEYS[2]) - 1
end
local envelopes = redis.call('LRANGE', KEYS[1], -stop - 1, -start - 1)
local bare = {}
if stop >= returned then
  bare = redis.call('LRANGE', KEYS[2], returned - stop - 1, -math.max(start - returned, 0) - 1)
end
return {envelopes, bare}
