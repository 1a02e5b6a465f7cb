"""Clients of other servers, unmodified: each runs in a virtualenv of its own against our server."""
