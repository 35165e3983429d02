-- Whether a queue has no more to give: closed by its writer, and nothing waits or is leased.
-- KEYS: job, main, returned, leases; ARGV: the field of the writer's done mark
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if redis.call('LLEN', KEYS[2]) + redis.call('LLEN', KEYS[3]) + redis.call('HLEN', KEYS[4]) > 0 then
  return 0
end
return 1
