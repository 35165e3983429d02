#!lua flags=allow-oom
-- A command that a full server must take too, so that it can be emptied. KEYS: its key; ARGV: its name, the other parts
return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
