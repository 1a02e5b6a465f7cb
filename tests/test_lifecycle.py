"""The states of a server: which may follow which, and who hears of it."""

from itertools import product

import pytest

from server.lifecycle import Lifecycle, State

STARTING, READY, DRAINING, STOPPED = State

#: How each state is reached.
WAYS = {
    STARTING: [],
    READY: [READY],
    DRAINING: [READY, DRAINING],
    STOPPED: [READY, DRAINING, STOPPED],
}

ALLOWED = {(STARTING, READY), (STARTING, DRAINING), (READY, DRAINING), (DRAINING, STOPPED)}


def at(state: State) -> Lifecycle:
    """Return a lifecycle that has come to *state*."""
    lifecycle = Lifecycle()
    for step in WAYS[state]:
        lifecycle.move(step)
    return lifecycle


def test_a_server_begins_by_starting() -> None:
    """And says so, until it knows better."""
    lifecycle = Lifecycle()
    assert (lifecycle.state, lifecycle.progress) == (STARTING, "starting")


@pytest.mark.parametrize(("here", "there"), list(product(State, State)))
def test_a_state_follows_where_the_table_says_so_and_nowhere_else(
    here: State, there: State
) -> None:
    """A refused step changes nothing and is told to nobody."""
    lifecycle = at(here)
    heard: list[State] = []
    lifecycle.observe(heard.append)
    if (here, there) in ALLOWED:
        lifecycle.move(there)
        assert (lifecycle.state, heard) == (there, [there])
        return
    with pytest.raises(ValueError, match="cannot become") as caught:
        lifecycle.move(there)
    assert str(caught.value) == f"a server that is {here.value} cannot become {there.value}"
    assert (lifecycle.state, heard) == (here, [])


def test_observers_hear_each_state_in_the_order_they_came() -> None:
    """When they are told, the lifecycle is there already."""
    lifecycle = Lifecycle()
    heard: list[tuple[str, State, State]] = []

    def observe(name: str) -> None:
        lifecycle.observe(lambda state: heard.append((name, state, lifecycle.state)))

    observe("first")
    observe("second")
    lifecycle.move(READY)
    lifecycle.move(DRAINING)
    assert heard == [
        ("first", READY, READY),
        ("second", READY, READY),
        ("first", DRAINING, DRAINING),
        ("second", DRAINING, DRAINING),
    ]


def test_connections_end_from_draining_on() -> None:
    """Not before, so that clients may keep theirs."""
    assert [state for state in State if at(state).leaving] == [DRAINING, STOPPED]
