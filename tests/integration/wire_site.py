"""
Serve the routes of a `WireServer` by both front ends, over TCP and TLS, in a process of its own.

    python -m tests.integration.wire_site FOLDER

FOLDER has certificate.pem and key.pem.  It prints a name and a port for each listener, and serves
until its standard input ends.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from server.http.messages import HTTPRequest, HTTPResponse, Route
from tests.fakes.wire import FRONT_ENDS, FrontEnd, WireServer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorCore, IReactorTime

LARGE = bytes(1 << 18)


class Forgetful(list[Any]):  # Any: what tests read, and nothing does here
    """Keeps nothing."""

    def append(self, item: object) -> None:
        """Drop *item*."""


def large(_: HTTPRequest) -> "Deferred[HTTPResponse]":
    """Answer with more than a socket holds."""
    return succeed(HTTPResponse(200, LARGE))


class Site(WireServer):
    """A `WireServer` on the real clock, which keeps no request."""

    def __init__(self, front_end: FrontEnd) -> None:
        more = (
            Route("GET", "/large", large, operations=()),
            Route("GET", "/open", self._count, operations=()),
        )
        super().__init__(front_end, more=more)
        self.connections.clock = cast("IReactorTime", reactor)
        self.heads, self.seen, self.entries = Forgetful(), Forgetful(), Forgetful()
        self.connections.access_log = None

    def _count(self, _: HTTPRequest) -> "Deferred[HTTPResponse]":
        return succeed(HTTPResponse(200, b"%d" % len(self.connections.open)))


class Input(Protocol):
    """Standard input: its end ends the program."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop."""
        cast("IReactorCore", reactor).stop()


def main(folder: Path) -> None:
    """Listen, and serve."""
    tls = DefaultOpenSSLContextFactory(str(folder / "key.pem"), str(folder / "certificate.pem"))
    listeners = cast("Any", reactor)  # Any: TCP and TLS are interfaces of their own
    for name, front_end in FRONT_ENDS.items():
        site = Site(front_end).site
        plain = listeners.listenTCP(0, site, 4096, "127.0.0.1")
        secure = listeners.listenSSL(0, site, tls, 4096, "127.0.0.1")
        print(name, plain.getHost().port, flush=True)  # noqa: T201  # for the test
        print(f"{name}-tls", secure.getHost().port, flush=True)  # noqa: T201
    print("ready", 0, flush=True)  # noqa: T201
    StandardIO(Input())
    listeners.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
