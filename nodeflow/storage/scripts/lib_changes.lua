-- What a hop changes in the records of its job. A record of a join has a field '<item>\n' with its state, and a field
-- '<item>\n<name>' for each part, which is empty when it is dead.
-- The state: how many parts there are that are not dead, how many that are, how many there will be ('' when that isn't
-- known yet, or 'skipped', 'dead', 'over'), and whether it was told that one is dead.

-- Why the job is not as a hop expects it; nil when it is.
local function unexpected(job, expected)
  for place = 1, #expected, 2 do
    local found = tonumber(redis.call('HGET', job, expected[place]) or 0)
    if found ~= expected[place + 1] then
      return redis.error_reply(
        'LEASELOST ' .. expected[place] .. ' is at ' .. found .. ' and not at ' .. expected[place + 1]
        .. ': another process has taken over')
    end
  end
end

local function read_state(hash, item)
  local text = redis.call('HGET', hash, item .. '\n') or '0:0::0'
  local have, dead, total, told = string.match(text, '^(%d+):(%d+):(%w*):(%d)$')
  return {have = tonumber(have), dead = tonumber(dead), total = tonumber(total) or total, told = told == '1'}
end

local function write_state(hash, item, state)
  local total = type(state.total) == 'number' and string.format('%d', state.total) or state.total
  redis.call('HSET', hash, item .. '\n', string.format('%d:%d:%s:%d', state.have, state.dead, total, state.told and 1 or 0))
end

local function tell(queue, part, name, count_of)
  redis.call('LPUSH', queue.main, cjson.encode({join = part.join, item = part.item, state = name, count = count_of}))
  count(queue, 'pushed', 1)
end

-- Puts a part into a record, or says how many there will be; tells the queue when that makes a difference.
local function put_part(hash, queue, part, data)
  local state = read_state(hash, part.item)
  if state.total == 'over' then
    return
  end
  if part.total then state.total = part.total end
  if part.name then
    local field = part.item .. '\n' .. part.name
    local before = redis.call('HGET', hash, field)
    if before and before ~= '' then
      return
    end
    if part.dead then
      if not before then state.dead = state.dead + 1 end
      redis.call('HSET', hash, field, '')
    else
      if before then state.dead = state.dead - 1 end
      state.have = state.have + 1
      redis.call('HSET', hash, field, data)
    end
  end
  if state.total == 'skipped' then
    tell(queue, part, 'skipped', 0)
    state.total = 'over'
  elseif state.have == state.total or (part.takes_dead and state.have + state.dead == state.total) then
    tell(queue, part, 'ready', state.total)
    state.total = 'over'
  elseif (state.dead > 0 and not part.takes_dead or state.total == 'dead') and not state.told then
    tell(queue, part, 'dead', 0)
    state.told = true
  end
  write_state(hash, part.item, state)
end

-- Removes a record; but not that it is over, where what is dead may still come.
local function remove_record(hash, item, names)
  for first = 1, #names, 1000 do
    local fields = {}
    for place = first, math.min(first + 999, #names) do fields[#fields + 1] = item .. '\n' .. names[place] end
    redis.call('HDEL', hash, unpack(fields))
  end
  if read_state(hash, item).dead == 0 then
    redis.call('HDEL', hash, item .. '\n')
  end
end

-- Does what a hop changes; the values' places begin behind `argument`; returns the place of the last of them.
local function change(plan, job, hashes, queues, argument)
  for place = 1, #plan.counts, 2 do
    redis.call('HINCRBY', job, plan.counts[place], plan.counts[place + 1])
  end
  if plan.lasts > 0 then redis.call('EXPIRE', job, plan.lasts) end
  for place = 1, #plan.marks, 2 do
    redis.call('HSET', job, plan.marks[place], plan.marks[place + 1])
  end
  for _, each in ipairs(plan.fields) do
    if each[3] then
      argument = argument + 1
      redis.call('HSET', hashes[each[1]], each[2], ARGV[argument])
    else
      redis.call('HDEL', hashes[each[1]], each[2])
    end
  end
  for _, part in ipairs(plan.parts) do
    local data
    if part.name and not part.dead then
      argument = argument + 1
      data = ARGV[argument]
    end
    put_part(hashes[part.hash], queues[part.queue], part, data)
  end
  for _, each in ipairs(plan.gathered) do
    remove_record(hashes[each[1]], each[2], each[3])
  end
  return argument
end
