-- Looks at dead letters, oldest first. KEYS: a queue; ARGV: first place, last place, most bytes of each
-- Returns for each its envelope, cut to so many bytes, and how long it is.
--#include lib_keys
local queue = queue_at(1)
local ids = redis.call('ZRANGE', queue.dead, ARGV[1], ARGV[2])
local reply = {}
for _, id in ipairs(ids) do
  local letter = redis.call('HGET', queue.letters, id)
  if letter then
    reply[#reply + 1] = {string.sub(letter, 1, tonumber(ARGV[3])), #letter}
  end
end
return reply
