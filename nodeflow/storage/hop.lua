-- One hop: counts, pushes what was produced, and acknowledges the input, all or nothing.
-- KEYS: the job's hash when there are counts; leases and processing list when there is a lease;
--       then a list for each target
-- ARGV: lease id or '', seconds that the job's hash is kept, number of counts, (field, increment)*,
--       number of values of each target*, the values*
-- Lua has no rollback, so all that can be refused is looked at first, and the acknowledgement comes last.
local lease, keep, counts = ARGV[1], ARGV[2], tonumber(ARGV[3])
local held = counts > 0 and 2 or 1
local target = lease ~= '' and held + 2 or held
if lease ~= '' and redis.call('HEXISTS', KEYS[held], lease) == 0 then
  return redis.error_reply('LEASELOST the lease ' .. lease .. ' is not open')
end
for index = 1, #KEYS do
  if index < held or index >= target then
    local wanted = index < held and 'hash' or 'list'
    local kind = redis.call('TYPE', KEYS[index]).ok
    if kind ~= wanted and kind ~= 'none' then
      return redis.error_reply('WRONGTYPE ' .. KEYS[index] .. ' holds a ' .. kind .. ', not a ' .. wanted)
    end
  end
end

local size = 4 + 2 * counts
for field = 4, size - 2, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[field], ARGV[field + 1])
end
if counts > 0 then
  redis.call('EXPIRE', KEYS[1], keep)
end
local value = size + #KEYS - target + 1
for index = target, #KEYS do
  local last = value + tonumber(ARGV[size + index - target]) - 1
  for first = value, last, 1000 do
    redis.call('LPUSH', KEYS[index], unpack(ARGV, first, math.min(first + 999, last)))
  end
  value = last + 1
end
if lease ~= '' then
  redis.call('DEL', KEYS[held + 1])
  redis.call('HDEL', KEYS[held], lease)
end
return 1
