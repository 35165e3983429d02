#!lua flags=allow-oom
-- Says that blobs are in use. KEYS: the sorted set of those; ARGV: for how many seconds, the blobs' ids
local now = tonumber(redis.call('TIME')[1])
for place = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now, ARGV[place])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return #ARGV - 1
