"""
The states of a server, and the transitions between them.

Pure.
"""

from enum import Enum


class StartError(Exception):
    """The server cannot start; the message gives the reason in one line."""


class State(Enum):
    """A state of a server."""

    STARTING = "starting"  #: it listens, and loads or warms up its model
    READY = "ready"  #: it answers requests
    DRAINING = "draining"  #: it answers the accepted requests, and will stop
    STOPPED = "stopped"  #: it answers nothing


#: The allowed next states; DRAINING may follow STARTING, if a signal arrives during the start.
NEXT: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.DRAINING}),
    State.READY: frozenset({State.DRAINING}),
    State.DRAINING: frozenset({State.STOPPED}),
    State.STOPPED: frozenset(),
}


class Lifecycle:
    """The state of one server, and the progress of its start."""

    def __init__(self) -> None:
        self.state = State.STARTING
        #: The current step of the start, in words.
        self.progress = "starting"

    def move(self, state: State) -> None:
        """Change to *state*; raises ValueError unless `NEXT` allows it."""
        if state not in NEXT[self.state]:
            raise ValueError(f"a server that is {self.state.value} cannot become {state.value}")
        self.state = state

    @property
    def leaving(self) -> bool:
        """Whether the server drains or has stopped: connections close after their next answer."""
        return self.state in (State.DRAINING, State.STOPPED)
