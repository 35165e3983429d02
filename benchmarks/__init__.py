"""Side-by-side measurements; each module runs by itself, as in `python -m benchmarks.queues --help`."""
