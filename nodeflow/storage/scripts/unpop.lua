#!lua flags=allow-oom
-- Puts an item that was popped for a caller who is gone back to the front.
-- KEYS: a queue, sent. ARGV: lane, number; where it lay (1 returned, 0 main), the item
--#include lib_keys lib_once
local queue, sent = queue_at(1), KEYS[QUEUE_KEYS + 1]
local before = done_before(sent, ARGV[1], ARGV[2])
if before then
  return before
end
redis.call('RPUSH', ARGV[3] == '1' and queue.returned or queue.main, ARGV[4])
count(queue, 'done', -1)
return remember(sent, ARGV[1], ARGV[2], 1)
