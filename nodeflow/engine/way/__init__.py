"""An item's way through a loop: which node is next, and what becomes of what it gives."""
