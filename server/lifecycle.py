"""
The states of a server's life, and which may follow which.

Pure but for the list of those who want to know.
"""

from collections.abc import Callable
from enum import Enum


class State(Enum):
    """Where a server stands."""

    STARTING = "starting"  #: it listens, and loads or warms its model
    READY = "ready"  #: it answers
    DRAINING = "draining"  #: it answers what it has taken, and is about to go
    STOPPED = "stopped"  #: it answers no more


#: What may follow a state; draining may begin before the server was ever ready.
NEXT: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.DRAINING}),
    State.READY: frozenset({State.DRAINING}),
    State.DRAINING: frozenset({State.STOPPED}),
    State.STOPPED: frozenset(),
}


class Lifecycle:
    """The state of one server, and its progress while it starts."""

    def __init__(self) -> None:
        self.state = State.STARTING
        #: What the start is busy with, in words.
        self.progress = "starting"
        self._observers: list[Callable[[State], object]] = []

    def observe(self, observer: Callable[[State], object]) -> None:
        """Call *observer* with each state that comes."""
        self._observers.append(observer)

    def move(self, state: State) -> None:
        """Go to *state*; raises ValueError where it cannot follow the present one."""
        if state not in NEXT[self.state]:
            raise ValueError(f"a server that is {self.state.value} cannot become {state.value}")
        self.state = state
        for observer in self._observers:
            observer(state)

    @property
    def leaving(self) -> bool:
        """Whether connections should end with their next answer."""
        return self.state in (State.DRAINING, State.STOPPED)
