"""Jobs: the processes that work on them, their records, and their dead letters."""
