"""
What operators read of a server while it runs: counts, and how long things take.
"""
