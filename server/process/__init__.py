"""The process around the server: what it says of its own limits."""
