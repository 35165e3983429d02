#!lua flags=allow-oom
-- A consumer's sign of life. It also gives back what the consumer could not, and what the dead hold.
-- KEYS: a queue. ARGV: consumer, its session, milliseconds of a lease, most deliveries; numbers of leases to give back
-- Returns how many items of others came back and how many died.
--#include lib_keys lib_envelopes lib_leases
local queue, now = queue_at(1), server_time()
local epoch, session = sign_of(queue, ARGV[1])
if session == ARGV[2] then
  redis.call('PEXPIRE', queue.alive .. ':' .. ARGV[1], ARGV[3])
  for place = 5, #ARGV do
    give_back(queue, ARGV[1] .. ':' .. epoch .. ':' .. ARGV[place], nil, now)
  end
end
return {recover(queue, tonumber(ARGV[4]), now)}
