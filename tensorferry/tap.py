"""What ``twistd tensorferry`` imports: options and service, of our packages and no others."""

from tensorferry.imports import prefer_own_packages

prefer_own_packages()

from server.process.tap import Options, makeService  # noqa: E402 - found only from here on

__all__ = ["Options", "makeService"]
