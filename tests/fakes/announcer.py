"""An announcer without a registry."""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from server.discovery.announcer import Announcer


class FakeAnnouncer(Announcer):
    """Calls *on_start* when it starts, and *withdraw* when it stops."""

    def __init__(
        self,
        withdraw: Callable[[], Deferred[None]],
        on_start: Callable[[], object] = lambda: None,
    ) -> None:
        self._withdraw_all = withdraw
        self._on_start = on_start

    def start(self) -> None:
        """Report the start."""
        self._on_start()

    async def stop(self) -> None:
        """Wait until the server is withdrawn."""
        await self._withdraw_all()
