"""Development mode: one node at a time, over what is kept of those before it."""
