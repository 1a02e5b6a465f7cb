"""The module that ``twistd tensorferry-registry`` imports, from our own packages."""

from tensorferry.imports import prefer_own_packages

prefer_own_packages()

from server.process.registry_tap import Options, makeService  # noqa: E402 - needs the finder

__all__ = ["Options", "makeService"]
