#!lua flags=allow-oom
-- Removes all leased items of a queue. KEYS: a queue. Returns how many those were.
--#include lib_keys lib_envelopes lib_leases
local queue, number = queue_at(1), 0
for _, id in ipairs(redis.call('HKEYS', queue.leases)) do
  number = number + read_lease(queue, id).left
  close_lease(queue, id)
end
if number > 0 then
  count(queue, 'discarded', number)
end
return number
