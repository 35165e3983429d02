-- The keys of one queue, in the order in which keys.py gives them from place `first` on.
local function queue_at(first)
  return {
    main = KEYS[first], returned = KEYS[first + 1], delayed = KEYS[first + 2], leases = KEYS[first + 3],
    leased = KEYS[first + 4], alive = KEYS[first + 5], dead = KEYS[first + 6], letters = KEYS[first + 7],
    tally = KEYS[first + 8], bound = KEYS[first + 9], full = KEYS[first + 10], room = KEYS[first + 11],
  }
end

-- How many keys a queue has.
local QUEUE_KEYS = 12

-- How long bookkeeping is kept after its last change: a week.
local KEEP = 604800

-- The server's time in microseconds; no client's clock is ever used.
local function server_time()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end

local function count(queue, field, number)
  redis.call('HINCRBY', queue.tally, field, number)
  redis.call('EXPIRE', queue.tally, KEEP)
end

-- How many more items a queue takes, and its bound; nil when it has none.
local function room_in(queue)
  local bound = redis.call('GET', queue.bound)
  if not bound then
    return nil
  end
  local waiting = redis.call('LLEN', queue.main) + redis.call('LLEN', queue.returned) + redis.call('ZCARD', queue.delayed)
  return math.max(0, bound - waiting), tonumber(bound)
end

-- Whether there is room for so many items of a hop: for all of them, or, when it is overdue or they would never fit, for
-- one; and the room, nil when the queue has no bound.
local function fits_in(queue, number, is_overdue)
  local room, bound = room_in(queue)
  return not room or room >= number or (room > 0 and (is_overdue or room == bound)), room
end

-- Whoever finds a queue full blocks on its `room` for a moment, or comes again.
local function say_full(queue)
  redis.call('SET', queue.full, 1, 'PX', 1000)
end

-- Wakes one who waits for room.
local function say_room(queue)
  if redis.call('DEL', queue.full) == 1 then
    redis.call('LPUSH', queue.room, 1)
    redis.call('PEXPIRE', queue.room, 1000)
  end
end

local function push_all(command, key, items, first, last)
  for start = first, last, 1000 do
    redis.call(command, key, unpack(items, start, math.min(start + 999, last)))
  end
end
