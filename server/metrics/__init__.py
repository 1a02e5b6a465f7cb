"""
Metrics of a running server: counts and durations.
"""
