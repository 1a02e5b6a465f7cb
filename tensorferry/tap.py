"""The module that ``twistd tensorferry`` imports: options and service, from our own packages."""

from tensorferry.imports import prefer_own_packages

prefer_own_packages()

from server.process.tap import Options, makeService  # noqa: E402 - needs the finder

__all__ = ["Options", "makeService"]
