#!lua flags=allow-oom
-- Lets what is delayed in a queue be due now, in the order of the times; 1 when there may be more of it, else 0.
-- KEYS: a queue
--#include lib_keys lib_delays
return bring_due(queue_at(1), '+inf') and 1 or 0
