"""Connections, requests and answers over HTTP."""
