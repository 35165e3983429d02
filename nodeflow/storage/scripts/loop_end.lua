#!lua flags=allow-oom
-- Looks whether a loop has come to its end, and if so brings it one step further: its finishers run, one after the other,
-- then it is closed.
-- KEYS: the job's hash; the queues that feed the loop, those of its own work among them
-- ARGV: as JSON, how many queues there are, the marks that must be set, the names of the marks for how many finishers
--       were called and that it is closed, and for each finisher the places of the queues into which go the items by which
--       it is called; then these items
-- Returns 0 when more may come, 1 when a finisher is at work, 2 when the loop is closed.
--#include lib_keys
local plan, job = cjson.decode(ARGV[1]), KEYS[1]
if redis.call('HEXISTS', job, plan.closed) == 1 then
  return 2
end
for _, mark in ipairs(plan.needed) do
  if redis.call('HEXISTS', job, mark) == 0 then
    return 0
  end
end
for place = 1, plan.queues do
  local queue = queue_at(2 + (place - 1) * QUEUE_KEYS)
  if redis.call('EXISTS', queue.main, queue.returned, queue.delayed, queue.leases) > 0 then
    return 0
  end
end
local called = tonumber(redis.call('HGET', job, plan.finished) or 0)
local argument = 1
for number, places in ipairs(plan.finishers) do
  for _, place in ipairs(places) do
    argument = argument + 1
    if number == called + 1 then
      local queue = queue_at(2 + (place - 1) * QUEUE_KEYS)
      redis.call('LPUSH', queue.main, ARGV[argument])
      count(queue, 'pushed', 1)
    end
  end
end
if called < #plan.finishers then
  redis.call('HSET', job, plan.finished, called + 1)
  return 1
end
redis.call('HSET', job, plan.closed, 1)
return 2
