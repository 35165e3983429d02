#!lua flags=allow-oom
-- Undoes a take of which nobody will hear: what it took comes back, and when it comes only now it takes nothing.
-- KEYS: a queue, sent. ARGV: consumer, its session, the lease's number; lane, number of the take
-- Returns how many items came back and how many died.
--#include lib_keys lib_once lib_envelopes lib_leases
local queue = queue_at(1)
remember(KEYS[QUEUE_KEYS + 1], ARGV[4], ARGV[5], 1)
local epoch, session = sign_of(queue, ARGV[1])
if session ~= ARGV[2] then
  return {0, 0}
end
return {give_back(queue, ARGV[1] .. ':' .. epoch .. ':' .. ARGV[3], nil, server_time())}
