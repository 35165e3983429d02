#!lua flags=allow-oom
-- Gives what is left of leases back, in order; nothing for one that isn't open.
-- KEYS: a queue. ARGV: the error or '', most deliveries; consumer, its session; the leases' numbers
-- Returns how many items came back and how many died.
--#include lib_keys lib_envelopes lib_leases
local queue, now = queue_at(1), server_time()
local epoch, session = sign_of(queue, ARGV[3])
if session ~= ARGV[4] then
  return {0, 0}
end
local fate = ARGV[1] ~= '' and {error = ARGV[1], most = tonumber(ARGV[2])} or nil
local back, dead = 0, 0
for place = 5, #ARGV do
  local more, gone = give_back(queue, ARGV[3] .. ':' .. epoch .. ':' .. ARGV[place], fate, now)
  back, dead = back + more, dead + gone
end
return {back, dead}
