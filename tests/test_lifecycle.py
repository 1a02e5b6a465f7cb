"""The states of a server, and their order: server/lifecycle.py."""

from itertools import product

import pytest

from server.lifecycle import Lifecycle, State

STARTING, READY, DRAINING, STOPPED = State

#: How each state is reached.
PATHS = {
    STARTING: [],
    READY: [READY],
    DRAINING: [READY, DRAINING],
    STOPPED: [READY, DRAINING, STOPPED],
}

ALLOWED = {(STARTING, READY), (STARTING, DRAINING), (READY, DRAINING), (DRAINING, STOPPED)}


def at(state: State) -> Lifecycle:
    """Return a lifecycle in *state*."""
    lifecycle = Lifecycle()
    for step in PATHS[state]:
        lifecycle.move(step)
    return lifecycle


def test_a_server_begins_by_starting() -> None:
    """Its progress is `starting`, too, until the first step."""
    lifecycle = Lifecycle()
    assert (lifecycle.state, lifecycle.progress) == (STARTING, "starting")


@pytest.mark.parametrize(("here", "there"), list(product(State, State)))
def test_only_the_transitions_of_the_table_are_allowed(here: State, there: State) -> None:
    """A refused transition changes nothing."""
    lifecycle = at(here)
    if (here, there) in ALLOWED:
        lifecycle.move(there)
        assert lifecycle.state is there
        return
    with pytest.raises(ValueError, match="cannot become") as caught:
        lifecycle.move(there)
    assert str(caught.value) == f"a server that is {here.value} cannot become {there.value}"
    assert lifecycle.state is here


def test_connections_close_from_draining_on() -> None:
    """Before, clients may keep them open."""
    assert [state for state in State if at(state).leaving] == [DRAINING, STOPPED]
