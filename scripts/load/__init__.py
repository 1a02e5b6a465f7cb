"""The load test: send requests when they are due, and report how the server answered them."""
