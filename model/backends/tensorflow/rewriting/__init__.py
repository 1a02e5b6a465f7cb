"""Read a graph's operations, and rewrite them."""
