#!lua flags=allow-oom
-- Counts an item that BRPOP has taken. KEYS: a queue, sent. ARGV: lane, number
--#include lib_keys lib_once
local queue, sent = queue_at(1), KEYS[QUEUE_KEYS + 1]
local before = done_before(sent, ARGV[1], ARGV[2])
if before then
  return before
end
count(queue, 'done', 1)
say_room(queue)
return remember(sent, ARGV[1], ARGV[2], 1)
