#!lua flags=allow-oom
-- What a consumer holds comes back: it was ended, and no item is to blame.
-- KEYS: a queue. ARGV: consumer
--#include lib_keys lib_envelopes lib_leases
local queue, now = queue_at(1), server_time()
local held = leases_where(queue, function(holder) return holder == ARGV[1] end)
for _, id in ipairs(held) do give_back(queue, id, nil, now) end
return #held
