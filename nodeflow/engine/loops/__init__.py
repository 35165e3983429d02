"""One process of a loop: takes items in, has them go their way, and commits what came of them."""
