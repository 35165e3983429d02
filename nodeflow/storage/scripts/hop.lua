#!lua
-- One hop: counts, saves states, pushes what was produced, and acknowledges what it came from: all or nothing, once.
-- KEYS: sent; the lease's queue when there is a lease; the job's hash, further hashes of it and queues for notices when
--       it changes records of a job; the states' keys; a queue for each push, for each lot that is due later, for each
--       lot of dead letters, and for each lot that is moved
-- ARGV: the plan as JSON, then the values of records, the states' values, the pushed values, those due later, the dead
--       letters, those that are moved
-- Lua has no rollback, so all that can be refused is looked at first, and the acknowledgement comes last.
--#include lib_keys lib_once lib_envelopes lib_leases lib_changes
local plan = cjson.decode(ARGV[1])
local key, argument = 1, 1

local function next_key()
  key = key + 1
  return KEYS[key]
end

local function next_queue()
  local queue = queue_at(key + 1)
  key = key + QUEUE_KEYS
  return queue
end

local function take_arguments(number)
  local first = argument + 1
  argument = argument + number
  return first, argument
end

local sent = KEYS[1]
local before = done_before(sent, plan.lane, plan.number)
if before then
  return before
end

local queue, lease
if plan.lease then
  queue = next_queue()
  local holder, epoch = holder_of(plan.lease)
  lease = read_lease(queue, plan.lease)
  if not lease or sign_of(queue, holder) ~= epoch then
    return redis.error_reply('LEASELOST the lease ' .. plan.lease .. ' is not open')
  end
  redis.call('PEXPIRE', queue.alive .. ':' .. holder, plan.milliseconds)
end
local changes, job, hashes, notices = plan.changes, nil, {}, {}
if changes then
  job = next_key()
  for place = 1, changes.hashes do hashes[place] = next_key() end
  for place = 1, changes.queues do notices[place] = next_queue() end
end
local states = {}
for place = 1, plan.states do states[place] = next_key() end
local targets, waits, burials, goals = {}, {}, {}, {}
for place = 1, #plan.pushes do targets[place] = next_queue() end
for place = 1, #plan.later do waits[place] = next_queue() end
for place = 1, #plan.dead do burials[place] = next_queue() end
for place = 1, #plan.moved do goals[place] = next_queue() end

local function must_be(kind, name)
  local found = redis.call('TYPE', name).ok
  if found ~= kind and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. name .. ' holds a ' .. found .. ', not a ' .. kind)
  end
end

-- Which target has no room, or what can't be done at all.
local function obstacle()
  local problem = job and must_be('hash', job)
  for _, hash in ipairs(hashes) do problem = problem or must_be('hash', hash) end
  problem = problem or (job and unexpected(job, changes.expected))
  for place, target in ipairs(targets) do
    problem = problem or must_be('list', target.main)
    local fits, room = fits_in(target, plan.pushes[place], plan.is_overdue)
    if not room and plan.is_full_server then
      problem = problem or redis.error_reply('OOM the server is full, and queue ' .. target.main .. ' has no bound')
    elseif not fits then
      say_full(target)
      problem = problem or {0, place}
    end
  end
  for _, target in ipairs(burials) do
    problem = problem or must_be('zset', target.dead) or must_be('hash', target.letters)
  end
  return problem
end

local problem = obstacle()
if problem and problem[1] == 0 then  -- remembered too, so that this request does nothing if it comes once more, late
  return remember(sent, plan.lane, plan.number, problem)
elseif problem then
  return problem
end

if job then
  argument = change(changes, job, hashes, notices, argument)
end
for place = 1, plan.states do
  redis.call('SET', states[place], ARGV[take_arguments(1)])
end
for place, target in ipairs(targets) do
  local first, last = take_arguments(plan.pushes[place])
  push_all('LPUSH', target.main, ARGV, first, last)
  count(target, 'pushed', plan.pushes[place])
end
local now = server_time()
for place, target in ipairs(waits) do
  for index, delay in ipairs(plan.later[place]) do
    local id = plan.id .. '.l' .. place .. '.' .. index
    redis.call('ZADD', target.delayed, now + delay, seal({id = id, attempt = 1}, ARGV[take_arguments(1)]))
  end
  count(target, 'pushed', #plan.later[place])
end
for place, target in ipairs(burials) do
  local first, last = take_arguments(plan.dead[place])
  for index = first, last do
    bury(target, {id = plan.id .. '.' .. index, attempt = 1}, ARGV[index], plan.reason, now + index - first)
  end
  count(target, 'pushed', plan.dead[place])
end

-- What lies at a place, and nothing there from now on; nil when that was so before.
local function take_out(place)
  local data = redis.call('LINDEX', list_of(queue, plan.lease), -1 - place)
  if not data or data == done_mark(plan.lease) then
    return nil
  end
  redis.call('LSET', list_of(queue, plan.lease), -1 - place, done_mark(plan.lease))
  lease.left = lease.left - 1
  return data
end

local function send_back(place, delay, reason)
  local data = take_out(place)
  if data then
    local head, element = item_at(lease, plan.lease, place, data)
    head.attempt = head.attempt + 1
    head.error = reason
    if delay > 0 then
      redis.call('ZADD', queue.delayed, now + delay, seal(head, element))
    else
      redis.call('LPUSH', queue.returned, seal(head, element))  -- behind what came back before it
    end
  end
end

local function let_die(place, reason)
  local data = take_out(place)
  if data then
    local head, element = item_at(lease, plan.lease, place, data)
    bury(queue, head, element, reason, now)
  end
end

-- Lets an item, with another element, wait in another queue, in front of what was pushed there.
local function move(place, goal, element)
  local data = take_out(place)
  if data then
    local head = item_at(lease, plan.lease, place, data)
    redis.call('LPUSH', goal.returned, seal(head, element))
    count(goal, 'pushed', 1)
    count(queue, 'done', 1)
  end
end

if lease then
  for place, goal in ipairs(goals) do
    for _, each in ipairs(plan.moved[place]) do move(each, goal, ARGV[take_arguments(1)]) end
  end
  for _, each in ipairs(plan.retries) do send_back(unpack(each)) end
  for _, each in ipairs(plan.buried) do let_die(unpack(each)); now = now + 1 end
  local open_before = lease.left
  if plan.done == true then
    lease.left = 0
  else
    for _, place in ipairs(plan.done) do take_out(place) end
  end
  if open_before > lease.left then
    count(queue, 'done', open_before - lease.left)
  end
  if lease.left == 0 then
    close_lease(queue, plan.lease)
  else
    write_lease(queue, plan.lease, lease)
  end
end
return remember(sent, plan.lane, plan.number, {1, lease and lease.left or 0})
