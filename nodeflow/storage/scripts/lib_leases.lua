-- What an open lease is: when it was taken, how many bare items and envelopes it began with, how many are left.
-- Its list holds them newest first, so that the oldest has place 0 at the right end.
local function write_lease(queue, id, lease)
  redis.call('HSET', queue.leases, id, string.format('%.0f:%d:%d:%d', lease.at, lease.bare, lease.envelopes, lease.left))
end

local function read_lease(queue, id)
  local text = redis.call('HGET', queue.leases, id)
  if not text then
    return nil
  end
  local at, bare, envelopes, left = string.match(text, '^(%d+):(%d+):(%d+):(%d+)$')
  return {at = tonumber(at), bare = tonumber(bare), envelopes = tonumber(envelopes), left = tonumber(left)}
end

-- What lies in the list where an item is done with.
local function done_mark(id)
  return '\0done ' .. id
end

local function list_of(queue, id)
  return queue.leased .. ':' .. id
end

local function close_lease(queue, id)
  redis.call('DEL', list_of(queue, id))
  redis.call('HDEL', queue.leases, id)
end

-- The head and the element of what lies at a place of a lease.
local function item_at(lease, id, place, data)
  if place < lease.envelopes then
    local head, element = open(data)
    if head then
      return head, element
    end
  end
  return {id = id .. '.' .. place, attempt = 1}, data
end

-- Puts what is left of a lease back, in front of all that waits.
-- `fate` is nil when nothing is wrong with the items; else {error =, most =}: they come back suspect, and one that
-- was delivered alone already and has failed so for `most` times goes to the dead letters.
-- Returns how many items came back and how many died.
local function give_back(queue, id, fate, now)
  local lease = read_lease(queue, id)
  if not lease then
    return 0, 0
  end
  local items = redis.call('LRANGE', list_of(queue, id), 0, -1)
  local was_alone = #items == 1
  local back, dead = {}, 0
  for index, data in ipairs(items) do
    if data ~= done_mark(id) then
      local head, element = item_at(lease, id, #items - index, data)
      head.attempt = head.attempt + 1
      if fate then
        head.deaths = (head.deaths or 0) + (was_alone and 1 or 0)
        head.error = fate.error
      end
      if fate and head.deaths >= fate.most then
        head.attempt = head.attempt - 1
        bury(queue, head, element, fate.error, now)
        dead = dead + 1
      else
        back[#back + 1] = seal(head, element)
      end
    end
  end
  push_all('RPUSH', queue.returned, back, 1, #back)
  close_lease(queue, id)
  return #back, dead
end

-- A consumer's sign of life is its epoch and the session that holds it; a later session has a later epoch.
local function sign_of(queue, consumer)
  local sign = redis.call('GET', queue.alive .. ':' .. consumer)
  if not sign then
    return nil
  end
  return string.match(sign, '^(%d+) (.*)$')
end

-- The consumer of a lease and its epoch.
local function holder_of(id)
  return string.match(id, '^(.*):(%d+):%d+$')
end

-- The leases of whose holder and epoch something is so, the latest first: put back in this order, they lie in theirs.
local function leases_where(queue, is_so)
  local found, times = {}, {}
  for _, id in ipairs(redis.call('HKEYS', queue.leases)) do
    local holder, epoch = holder_of(id)
    local lease = holder and read_lease(queue, id)
    if lease and lease.at and is_so(holder, epoch) then
      found[#found + 1] = id
      times[id] = lease.at
    end
  end
  table.sort(found, function(one, other) return times[one] > times[other] end)
  return found
end

-- Puts back what dead consumers hold: those whose sign of life has run out or belongs to a later epoch.
local function recover(queue, most, now)
  local epochs = {}
  local lost = leases_where(queue, function(holder, epoch)
    if epochs[holder] == nil then
      epochs[holder] = sign_of(queue, holder) or ''
    end
    return epochs[holder] ~= epoch
  end)
  local back, dead = 0, 0
  for _, id in ipairs(lost) do
    local reason = 'its consumer ' .. holder_of(id) .. ' died, was cut off or was replaced while it held the item'
    local more, gone = give_back(queue, id, {error = reason, most = most}, now)
    back, dead = back + more, dead + gone
  end
  return back, dead
end
