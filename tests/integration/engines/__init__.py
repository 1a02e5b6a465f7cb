"""Real servers of other programs, started on loopback with our own configurations."""
