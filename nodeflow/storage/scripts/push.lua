#!lua
-- Pushes as many of the items as there is room for, once, however often it is sent.
-- KEYS: a queue, sent. ARGV: lane, number; seconds of delay in microseconds or '', ids of the delayed; the items
-- Returns how many were pushed.
--#include lib_keys lib_once lib_envelopes
local queue, sent = queue_at(1), KEYS[QUEUE_KEYS + 1]
local before = done_before(sent, ARGV[1], ARGV[2])
if before then
  return before
end
local first, number = 5, #ARGV - 4
local room = room_in(queue)
if room and room < number then
  number = room
  say_full(queue)
  if number == 0 then  -- remembered too, so that this request does nothing if it comes once more, late
    return remember(sent, ARGV[1], ARGV[2], 0)
  end
end
if ARGV[3] == '' then
  push_all('LPUSH', queue.main, ARGV, first, first + number - 1)
else
  local due = server_time() + tonumber(ARGV[3])
  for place = 0, number - 1 do
    redis.call('ZADD', queue.delayed, due, seal({id = ARGV[4] .. '.' .. place, attempt = 1}, ARGV[first + place]))
  end
end
count(queue, 'pushed', number)
return remember(sent, ARGV[1], ARGV[2], number)
