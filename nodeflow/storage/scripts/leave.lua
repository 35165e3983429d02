#!lua flags=allow-oom
-- A consumer leaves a queue: its open leases come back, and nobody has to wait for its end.
-- KEYS: a queue. ARGV: consumer, its session
--#include lib_keys lib_envelopes lib_leases
local queue, now = queue_at(1), server_time()
local current, session = sign_of(queue, ARGV[1])
if session ~= ARGV[2] then
  return 0
end
local own = leases_where(queue, function(holder, epoch) return holder == ARGV[1] and epoch == current end)
for _, id in ipairs(own) do give_back(queue, id, nil, now) end
return redis.call('DEL', queue.alive .. ':' .. ARGV[1])
