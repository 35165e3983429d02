#!lua flags=allow-oom
-- Whether a queue has come to its end: all writers are done, and nothing waits, is leased or delayed.
-- KEYS: a queue, the writers' states, what begins the name of their signs of life
-- Returns 1 and nothing else when it has; else 0, the server's time in milliseconds, and the writers who give no sign.
--#include lib_keys
local queue, states, signs = queue_at(1), KEYS[QUEUE_KEYS + 1], KEYS[QUEUE_KEYS + 2]
local reply, open, known = {0, math.floor(server_time() / 1000)}, 0, 0
local fields = redis.call('HGETALL', states)
for place = 1, #fields, 2 do
  known = known + 1
  if fields[place + 1] ~= 'done' then
    open = open + 1
    if redis.call('EXISTS', signs .. ':' .. fields[place]) == 0 then
      reply[#reply + 1] = fields[place]
    end
  end
end
redis.call('EXPIRE', states, KEEP)
if known > 0 and open == 0 and redis.call('EXISTS', queue.main, queue.returned, queue.delayed, queue.leases) == 0 then
  return {1}
end
return reply
