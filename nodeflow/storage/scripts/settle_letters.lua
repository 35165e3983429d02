#!lua flags=allow-oom
-- Puts dead letters back in front of what waits, or removes them for good.
-- KEYS: a queue, sent. ARGV: lane, number; 'requeue', 'discard' or 'replace'; 'all' and how many of the newest, or 'some'
--       and ids, to replace each with the element that goes on in its place
-- Returns how many those were; refused when an id is of no dead letter.
--#include lib_keys lib_once lib_envelopes
local queue, sent = queue_at(1), KEYS[QUEUE_KEYS + 1]
local before = done_before(sent, ARGV[1], ARGV[2])
if before then
  return before
end
local ids, elements = {}, {}
if ARGV[4] == 'all' then
  ids = redis.call('ZRANGE', queue.dead, -ARGV[5], -1)
else
  for place = 5, #ARGV, ARGV[3] == 'replace' and 2 or 1 do
    if redis.call('HEXISTS', queue.letters, ARGV[place]) == 0 then
      return redis.error_reply('NOLETTER ' .. ARGV[place])
    end
    ids[#ids + 1] = ARGV[place]
    elements[#ids] = ARGV[3] == 'replace' and ARGV[place + 1] or nil
  end
end
for place = #ids, 1, -1 do
  local id = ids[place]
  if ARGV[3] ~= 'discard' then
    local head, element = open(redis.call('HGET', queue.letters, id))
    -- It may kill again, so it is delivered alone; but it has all its attempts before it.
    redis.call('RPUSH', queue.returned, seal({id = head.id, attempt = 1, deaths = 0, error = head.error}, elements[place] or element))
  end
  redis.call('HDEL', queue.letters, id)
  redis.call('ZREM', queue.dead, id)
end
if ARGV[3] == 'discard' and #ids > 0 then
  count(queue, 'discarded', #ids)
end
return remember(sent, ARGV[1], ARGV[2], #ids)
