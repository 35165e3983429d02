-- Which blobs the items of a queue refer to. KEYS: a queue. ARGV: first and last place of its main list; or nothing, for
-- all that was taken from it, came back, is delayed or is dead: in one step, since items move between these.
-- Returns how long the main list is, and the ids; of a key that is no list, as no queue's main key is, nothing.
--#include lib_keys
local queue, found = queue_at(1), {}

-- A descriptor stands at the beginning of what was pushed, which in an envelope is the second line; a frame's head names
-- the blobs that it encrypts the descriptors of.
local function look_at(element)
  local from = (string.find(element, '\n', 1, true) or 0) + 1
  for _, first in ipairs({1, from}) do
    local last = first + 500
    local _, many = string.find(string.sub(element, first, last), '"blobs":[', 1, true)
    if many then last = math.max(last, string.find(element, ']', first + many, true) or last) end
    for id in string.gmatch(string.sub(element, first, last), '%l+_%x+') do
      if #id == 39 or #id == 42 then found[#found + 1] = id end
    end
  end
end

local function look_at_all(elements)
  for _, element in ipairs(elements) do look_at(element) end
end

-- What a key holds that is of the type that it should be; one of another type is none of ours.
local function held(...)
  local found = redis.pcall(...)
  return found.err and {} or found
end

if ARGV[1] then
  look_at_all(held('LRANGE', queue.main, ARGV[1], ARGV[2]))
else
  look_at_all(held('LRANGE', queue.returned, 0, -1))
  look_at_all(held('ZRANGE', queue.delayed, 0, -1))
  look_at_all(held('HVALS', queue.letters))
  for _, id in ipairs(held('HKEYS', queue.leases)) do
    look_at_all(held('LRANGE', queue.leased .. ':' .. id, 0, -1))
  end
end
local length = redis.pcall('LLEN', queue.main)
return {type(length) == 'number' and length or 0, found}
