#!lua flags=allow-oom
-- Looks whether a loop has come to its end, and if so brings it one step further: its finishers run, one after the other,
-- then it is closed.
-- KEYS: the job's hash; the queues that feed the loop, the last of them that of its own work
-- ARGV: as JSON, how many queues there are, the marks that must be set, and the names of the marks for how many
--       finishers were called and that it is closed; then for each finisher the item by which it is called
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
local queue
for place = 1, plan.queues do
  queue = queue_at(2 + (place - 1) * QUEUE_KEYS)
  if redis.call('EXISTS', queue.main, queue.returned, queue.delayed, queue.leases) > 0 then
    return 0
  end
end
local called = tonumber(redis.call('HGET', job, plan.finished) or 0)
if called < #ARGV - 1 then
  redis.call('HSET', job, plan.finished, called + 1)
  redis.call('LPUSH', queue.main, ARGV[called + 2])
  count(queue, 'pushed', 1)
  return 1
end
redis.call('HSET', job, plan.closed, 1)
return 2
