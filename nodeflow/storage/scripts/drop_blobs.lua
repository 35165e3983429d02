#!lua flags=allow-oom
-- Takes back that blobs are in use, but for a sweep that is under way: what referred to them may have moved behind its
-- back. KEYS: the sorted sets of blobs in use and of sweeps; ARGV: for how many seconds a sweep may last, what was said
local now = tonumber(redis.call('TIME')[1])
if redis.call('ZCOUNT', KEYS[2], now - ARGV[1], '+inf') > 0 then
  return 0
end
for place = 2, #ARGV do
  redis.call('ZREM', KEYS[1], ARGV[place])
end
return #ARGV - 1
