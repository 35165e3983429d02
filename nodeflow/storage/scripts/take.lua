#!lua flags=allow-oom
-- Takes up to n items into a lease: those that came back first, then what waits; a suspect one alone.
-- KEYS: a queue, sent. ARGV: n, bytes, the largest element; consumer, its session, whether this session was it before (0, 1),
--       the lease's number, milliseconds of a lease, most deliveries; lane, number
-- Returns the epoch, the number of envelopes, how many came back or died on the way, milliseconds until more can be
-- taken than lies in the main list (0 for what came back, -1 for never), and the items, oldest first; of many only how
-- many they are: they lie in the lease's list, newest first.
--#include lib_keys lib_once lib_envelopes lib_leases lib_delays

-- From how many items on it pays that they don't pass through here, though the caller has to read them by itself.
local MANY = 200

-- Up to how many times as many items may wait as are taken, so that to copy their list costs less than to move each.
local COPIED = 16

local queue = queue_at(1)
local wanted, budget, largest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local consumer, session, number = ARGV[4], ARGV[5], ARGV[7]
local now = server_time()
local recovered, died = 0, 0

local epoch, holder = sign_of(queue, consumer)
if holder ~= session then
  if holder and ARGV[6] == '1' then
    return redis.error_reply('LEASELOST another process has taken over as consumer ' .. consumer)
  end
  epoch = string.format('%.0f', math.max(now, (tonumber(epoch) or 0) + 1))
  redis.call('SET', queue.alive .. ':' .. consumer, epoch .. ' ' .. session, 'PX', ARGV[8])
  recovered, died = recover(queue, tonumber(ARGV[9]), now)
end

local id = consumer .. ':' .. epoch .. ':' .. number
local lease = read_lease(queue, id)
local sent = KEYS[QUEUE_KEYS + 1]
if not lease and done_before(sent, ARGV[10], ARGV[11]) then  -- it comes once more, late, when all is over
  return {epoch, 0, recovered, died, -1, {}}
end
if lease then  -- the reply was lost
  local items = redis.call('LRANGE', list_of(queue, id), 0, -1)
  local oldest_first = {}
  for index = #items, 1, -1 do oldest_first[#oldest_first + 1] = items[index] end
  return {epoch, lease.envelopes, recovered, died, 0, oldest_first}
end

-- The oldest elements of a list, oldest first, up to so many and so many bytes; their size, and that of the largest.
local function oldest(key, most, bytes)
  local found, size, widest, chunk = {}, 0, 0, math.min(most, 4)
  while chunk > 0 do
    local part = redis.call('LRANGE', key, -#found - chunk, -#found - 1)
    local number = #found
    for index = #part, 1, -1 do
      local element = part[index]
      if number > 0 and size >= bytes then
        return found, size, widest
      end
      number = number + 1
      found[number] = element
      size = size + #element
      if #element > widest then widest = #element end
    end
    if #part < chunk or size >= bytes then
      break
    end
    -- As many as fit by the mean size so far, but not much more than were seen of it.
    local fitting = math.max(1, math.floor((bytes - size) * #found / math.max(size, 1)))
    chunk = math.min(most - #found, fitting, #found)
  end
  return found, size, widest
end

local taken, envelopes, gone, is_alone, used = {}, 0, 0, false, 0

-- Moves an element into the lease, or to the dead letters when it is too large for any client.
local function keep(element, place, is_envelope)
  local size = #element
  if is_envelope and size > largest then
    size = size - (string.find(element, '\n', 1, true) or 0)
  end
  if size <= largest then
    taken[#taken + 1] = element
    if is_envelope then envelopes = envelopes + 1 end
    return
  end
  local head, rest = nil, nil
  if is_envelope then head, rest = open(element) end
  local reason = string.format('%d bytes, more than the %d that an item may have', size, largest)
  bury(queue, head or {id = id .. '.x' .. place, attempt = 1}, rest or element, reason, now + place)
  died = died + 1
end

local is_plain = redis.call('EXISTS', queue.delayed, queue.returned) == 0
if not is_plain then
  local is_more_due = bring_due(queue, now)
  local back = {}
  back, used = oldest(queue.returned, wanted, budget)
  for place, envelope in ipairs(back) do
    if is_suspect(envelope) then
      if place > 1 then break end
      is_alone = true
    end
    keep(envelope, place, true)
    gone = place
    if is_alone then break end
  end
  is_alone = is_alone or gone < #back or is_more_due
end
-- How many bytes a list has, fewer where the server compresses lists; without end where it lets nobody ask for that.
local function size_of(list)
  local size = redis.pcall('MEMORY', 'USAGE', list, 'SAMPLES', 0)
  return type(size) == 'number' and size or math.huge
end

-- Moves the oldest items into the lease as a whole, where that needs no look at any of them; how many, 0 for none.
-- None is larger than all are together; whoever reads them looks once more.
local function move_many()
  local length = redis.call('LLEN', queue.main)
  local number = math.min(length, wanted)
  if not is_plain or number < MANY or length > COPIED * number then
    return 0
  end
  local list, size = list_of(queue, id), size_of(queue.main)
  if size > largest or (number == length and size > budget) then
    return 0
  end
  local of_lease = {at = now, bare = number, envelopes = 0, left = number}
  if number == length then
    write_lease(queue, id, of_lease)
    redis.call('RENAME', queue.main, list)
    return number
  end
  redis.call('COPY', queue.main, list)
  redis.call('LTRIM', list, -number, -1)
  if size_of(list) > budget then
    redis.call('DEL', list)
    return 0
  end
  write_lease(queue, id, of_lease)
  redis.call('LTRIM', queue.main, 0, -number - 1)
  return number
end

local many = move_many()
if many > 0 then
  say_room(queue)
  remember(sent, ARGV[10], ARGV[11], 1)
  return {epoch, 0, recovered, died, -1, many}
end

local bare, widest = {}, 0
if not is_alone and gone < wanted and (gone == 0 or used < budget) then
  bare, used, widest = oldest(queue.main, wanted - gone, budget - used)
  if is_plain and widest <= largest then
    taken = bare
  else
    for place, element in ipairs(bare) do keep(element, gone + place, false) end
  end
end

if #taken > 0 then
  -- Lua has no rollback, so the lease is there before an item is moved into it.
  write_lease(queue, id, {at = now, bare = #taken - envelopes, envelopes = envelopes, left = #taken})
  push_all('LPUSH', list_of(queue, id), taken, 1, #taken)
end
if gone > 0 then redis.call('LTRIM', queue.returned, 0, -gone - 1) end
if #bare > 0 then redis.call('LTRIM', queue.main, 0, -#bare - 1) end
if gone + #bare > 0 then say_room(queue) end
remember(sent, ARGV[10], ARGV[11], 1)
local wait = -1
if not is_plain then
  wait = redis.call('EXISTS', queue.returned) == 1 and 0 or wait_for_due(queue, now)
end
return {epoch, envelopes, recovered, died, wait, taken}
