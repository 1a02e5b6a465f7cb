"""Benchmarks of this server, alone and beside others; no part of the installed package."""
