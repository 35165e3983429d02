"""What an item is to a loop, and what is to be done with it: plain data and rules, without I/O."""
