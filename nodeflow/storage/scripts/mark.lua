#!lua flags=allow-oom
-- Sets a mark of a job that only one can set. KEYS: the job's hash, sent; ARGV: lane, number, the mark
-- Returns whether it was set now.
--#include lib_keys lib_once
local before = done_before(KEYS[2], ARGV[1], ARGV[2])
if before then
  return before
end
local is_new = redis.call('HSETNX', KEYS[1], ARGV[3], 1)
redis.call('EXPIRE', KEYS[1], KEEP)
return remember(KEYS[2], ARGV[1], ARGV[2], is_new)
