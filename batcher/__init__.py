"""Decide when to launch a batch of a queue, and with how many rows.  Imports nothing of ours."""
