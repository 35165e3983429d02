-- What became of all that was pushed to a queue. KEYS: a queue
-- Returns pushed, waiting, delayed, leased, dead, discarded, done.
--#include lib_keys
local queue = queue_at(1)
local leased = 0
for _, lease in ipairs(redis.call('HVALS', queue.leases)) do
  leased = leased + tonumber(string.match(lease, ':(%d+)$'))
end
local tally = redis.call('HMGET', queue.tally, 'pushed', 'discarded', 'done')
return {
  tonumber(tally[1] or 0), redis.call('LLEN', queue.returned) + redis.call('LLEN', queue.main),
  redis.call('ZCARD', queue.delayed), leased, redis.call('ZCARD', queue.dead), tonumber(tally[2] or 0),
  tonumber(tally[3] or 0),
}
