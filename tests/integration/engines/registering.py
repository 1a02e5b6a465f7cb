"""A worker's process that announces itself and does nothing else: ``URL NUMBER``."""

import sys
from typing import Any

from twisted.internet.task import deferLater, react

from server.discovery.engine_url import parse_engine_url
from tests.integration.engines.discovery import REGISTRARS, worker


async def register(reactor: Any, text: str, number: str) -> None:
    """Write the record, print a line, and renew the lease for ever."""
    url = parse_engine_url(text)
    registrar = REGISTRARS[url.scheme](url, reactor)
    while True:
        await registrar.put(worker(int(number)))
        print("registered", flush=True)  # noqa: T201 - for the test
        await deferLater(reactor, url.lease / 3)


if __name__ == "__main__":
    react(register, sys.argv[1:])
