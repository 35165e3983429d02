"""How a node is called: with what, for how long, and what it remembers."""
