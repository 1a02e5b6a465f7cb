"""Fakes for tests: each one is named after what it stands for, and keeps its contract."""
