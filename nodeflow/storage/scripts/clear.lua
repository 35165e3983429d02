#!lua flags=allow-oom
-- Removes all that waits in a queue, or is to wait later; leased items stay. KEYS: a queue, sent. ARGV: lane, number
-- Returns how many items that were; refused before anything is removed when the queue's key is no list.
--#include lib_keys lib_once
local queue, sent = queue_at(1), KEYS[QUEUE_KEYS + 1]
local before = done_before(sent, ARGV[1], ARGV[2])
if before then
  return before
end
local number = redis.call('LLEN', queue.main) + redis.call('LLEN', queue.returned) + redis.call('ZCARD', queue.delayed)
redis.call('UNLINK', queue.main, queue.returned, queue.delayed)
if number > 0 then
  count(queue, 'discarded', number)
  say_room(queue)
end
return remember(sent, ARGV[1], ARGV[2], number)
