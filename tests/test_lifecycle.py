"""The states of a server, their order and their observers: server/lifecycle.py."""

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
    """A refused transition changes nothing, and no observer is called."""
    lifecycle = at(here)
    observed: list[State] = []
    lifecycle.observe(observed.append)
    if (here, there) in ALLOWED:
        lifecycle.move(there)
        assert (lifecycle.state, observed) == (there, [there])
        return
    with pytest.raises(ValueError, match="cannot become") as caught:
        lifecycle.move(there)
    assert str(caught.value) == f"a server that is {here.value} cannot become {there.value}"
    assert (lifecycle.state, observed) == (here, [])


def test_observers_are_called_with_each_state_in_the_order_they_were_added() -> None:
    """The lifecycle is in the new state by then."""
    lifecycle = Lifecycle()
    observed: list[tuple[str, State, State]] = []

    def observe(name: str) -> None:
        lifecycle.observe(lambda state: observed.append((name, state, lifecycle.state)))

    observe("first")
    observe("second")
    lifecycle.move(READY)
    lifecycle.move(DRAINING)
    assert observed == [
        ("first", READY, READY),
        ("second", READY, READY),
        ("first", DRAINING, DRAINING),
        ("second", DRAINING, DRAINING),
    ]


def test_connections_close_from_draining_on() -> None:
    """Before, clients may keep them open."""
    assert [state for state in State if at(state).leaving] == [DRAINING, STOPPED]
