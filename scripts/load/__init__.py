"""The load test: send requests as they are due, and tell what came of them."""
