-- Removes lists. KEYS: they. Returns how many elements they held; refused before anything is removed
-- when one of them is no list.
local count = 0
for _, key in ipairs(KEYS) do
  count = count + redis.call('LLEN', key)
end
redis.call('UNLINK', unpack(KEYS))
return count
