#!lua flags=allow-oom
-- Takes the oldest item out of a queue, if one waits.
-- KEYS: a queue, sent. ARGV: lane, number
-- Returns where it lay (1 returned, 0 main) and the item; or -1 and the milliseconds until a delayed one is due, -1
-- for none.
--#include lib_keys lib_once lib_delays
local queue, sent, now = queue_at(1), KEYS[QUEUE_KEYS + 1], server_time()
local before = done_before(sent, ARGV[1], ARGV[2])
if before then
  return before
end
local origin, item = 1, nil
if redis.call('EXISTS', queue.delayed, queue.returned) > 0 then
  bring_due(queue, now)
  item = redis.call('RPOP', queue.returned)
end
if not item then
  origin, item = 0, redis.call('RPOP', queue.main)
end
if item then
  count(queue, 'done', 1)
  say_room(queue)
  return remember(sent, ARGV[1], ARGV[2], {origin, item})
end
return remember(sent, ARGV[1], ARGV[2], {-1, wait_for_due(queue, now)})
