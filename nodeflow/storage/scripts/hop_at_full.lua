#!lua flags=allow-oom
-- A hop that takes out of queues, or pushes to bounded ones only, so that a full server can be emptied.
--#include hop
