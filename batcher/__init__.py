"""When to flush a queue into a batch, and how many rows to take.  Imports nothing of ours."""
