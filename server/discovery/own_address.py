"""
Find the address from which this machine reaches a registry.

Blocks while it looks up a name, so it is called on a thread; sends no packet.
"""

import socket
from contextlib import closing

from server.discovery.engine_url import EngineURL


def address_towards(listening: str, url: EngineURL) -> str:
    """
    Return the address of the interface that leads to the first host of *url* with a route.

    *listening* is the address of all interfaces on which the server listens: without colons it is
    that of IPv4, and so is the result.  Raises OSError with the reason if there is no route.
    """
    family = socket.AF_UNSPEC if ":" in listening else socket.AF_INET
    reason: OSError = OSError(None, "the registry has no address")
    for host, port in url.hosts:
        try:
            found = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)
        except OSError as error:
            reason = error
            continue
        for it, kind, protocol, _, address in found:
            try:
                # For UDP, to connect only selects the route.
                with closing(socket.socket(it, kind, protocol)) as probe:
                    probe.connect(address)
                    return str(probe.getsockname()[0])
            except OSError as error:
                reason = error
    raise reason
