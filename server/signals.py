"""
Let a second signal end what the first one began.
"""

import signal
from typing import Any

from server.lifecycle import State
from server.service import FerryService


def stop_at_once_on_second_signal(service: FerryService, reactor: Any) -> None:
    """
    Make SIGTERM and SIGINT abort *service* once it drains; the reactor took the first of them.

    Called on the main thread.  Any: see `FerryService`.
    """

    def abort_soon(*_: object) -> None:
        reactor.callFromThread(service.abort)

    def watch(state: State) -> None:
        if state is State.DRAINING:
            signal.signal(signal.SIGTERM, abort_soon)
            signal.signal(signal.SIGINT, abort_soon)

    service.lifecycle.observe(watch)
