#!lua flags=allow-oom
-- Who writes to a queue, and who is done. KEYS: the writers' states, what begins the name of their signs of life
-- ARGV: what happens, milliseconds of a sign of life, session, the writers' names
--   open   they will write, and have until their sign runs out to begin; who writes already goes on
--   begin  the session writes as them, instead of whoever did before
--   beat   the session still does
--   done   they are done; with a session, only where it is the one that writes as them
--   close  all are done, known or not
-- Returns how many of them it was so for.
--#include lib_keys lib_once
local states, signs, what, milliseconds, session = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local before = KEYS[3] and done_before(KEYS[3], ARGV[4], ARGV[5])
if before then
  return before
end
local names, number = {}, 0
for place = 6, #ARGV do names[#names + 1] = ARGV[place] end
if what == 'close' then
  names = redis.call('HKEYS', states)
  names[#names + 1] = '*'
end

local function set(name, state, sign)
  redis.call('HSET', states, name, state)
  if sign then
    redis.call('SET', signs .. ':' .. name, sign, 'PX', milliseconds)
  else
    redis.call('DEL', signs .. ':' .. name)
  end
  number = number + 1
end

for _, name in ipairs(names) do
  local state = redis.call('HGET', states, name)
  if what == 'open' then
    if not state or state == 'done' then set(name, 'open', '') end
  elseif what == 'begin' then
    set(name, 'open ' .. session, session)
  elseif what == 'beat' then
    if state == 'open ' .. session then set(name, state, session) end
  elseif session == '' or state == 'open ' .. session then
    set(name, 'done', nil)
  end
end
redis.call('EXPIRE', states, KEEP)
return KEYS[3] and remember(KEYS[3], ARGV[4], ARGV[5], number) or number
