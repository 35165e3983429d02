#!lua flags=allow-oom
-- Takes or renews a claim. KEYS: the claim; ARGV: holder, milliseconds, a holder that is known to be dead
-- Returns who holds it now.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then
  return holder
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
