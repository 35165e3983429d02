#!lua flags=allow-oom
-- Whether a queue has room for what a hop pushes, so that one that must wait needn't be sent; who finds none is woken when
-- there is some. KEYS: a queue. ARGV: how many, whether it is overdue (0, 1). Returns 1 or 0.
--#include lib_keys
local queue = queue_at(1)
if fits_in(queue, tonumber(ARGV[1]), ARGV[2] == '1') then
  return 1
end
say_full(queue)
return 0
