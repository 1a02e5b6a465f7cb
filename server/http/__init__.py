"""The doors: how requests come in from sockets and answers go out."""
