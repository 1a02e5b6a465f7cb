"""Benchmarks, each a module with numbers of its own; the server needs none of them."""
