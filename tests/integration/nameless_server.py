"""
`python -m tests.integration.nameless_server`: the server of numpy, without an answer of the DNS.

The lookup of a name takes `SECONDS`.
"""

import socket
import time

SECONDS = 60.0


def look_up(*_: object, **__: object) -> None:
    """Block as the system's lookup does while no name server answers."""
    time.sleep(SECONDS)
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


if __name__ == "__main__":
    socket.getaddrinfo = look_up  # type: ignore[assignment]  # it returns nothing

    # Twisted keeps the function that it finds when it is imported.
    from tests.integration.numpy_server import main

    main()
