-- Whether a queue has no more to give: closed by its writer, and nothing waits, is leased or delayed.
-- KEYS: a queue, the job's hash; ARGV: the field of the writer's done mark
--#include lib_keys
local queue = queue_at(1)
if redis.call('HEXISTS', KEYS[QUEUE_KEYS + 1], ARGV[1]) == 0 then
  return 0
end
return redis.call('EXISTS', queue.main, queue.returned, queue.delayed, queue.leases) == 0 and 1 or 0
