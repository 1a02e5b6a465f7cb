"""What lengthens the runs of a simulated machine: scripts/simulation/machine.py."""

import pytest

from scripts.simulation.machine import (
    CLIENT_WINDOW_SECONDS,
    MAX_CLIENT_SHARE,
    Client,
    Disturbance,
    Neighbour,
    Run,
    SlowFirstRun,
    Stalls,
)

NEIGHBOUR = Neighbour([1.0, 3.0, 2.0], start=10.0, stop=20.0)
#: Ten requests in the window before 10 s, and one hundred in the one before 20 s.
CLIENT = Client([*[9.9] * 10, *[19.9] * 100], seconds=0.025)
STALLS = Stalls([10.0, 11.5, 13.5], [2.0, 0.25, 8.0])
FIRST, EACH = SlowFirstRun(20.0), SlowFirstRun(20.0, of_each_size=True)


@pytest.mark.parametrize(
    ("disturbance", "run", "seconds"),
    [
        (NEIGHBOUR, Run(9.9, 1, True, True), 1.0),
        (NEIGHBOUR, Run(10.0, 1, True, True), 3.0),
        (NEIGHBOUR, Run(19.9, 2, True, True), 2.0),
        (NEIGHBOUR, Run(20.0, 2, True, True), 1.0),
        (CLIENT, Run(9.8, 1, True, True), 1.0),
        (CLIENT, Run(10.0, 1, True, True), 1.0 / (1.0 - 0.25 / CLIENT_WINDOW_SECONDS)),
        (CLIENT, Run(10.0 + CLIENT_WINDOW_SECONDS, 1, True, True), 1.0),
        (CLIENT, Run(20.0, 1, True, True), 1.0 / (1.0 - MAX_CLIENT_SHARE)),
        (STALLS, Run(8.5, 1, True, True), 1.0),
        (STALLS, Run(9.5, 1, True, True), 3.25),  # the first stall delays the end past the second
        (STALLS, Run(10.75, 1, True, True), 1.25),
        (STALLS, Run(13.75, 1, True, True), 1.0),
        (FIRST, Run(0.0, 1, True, True), 20.0),
        (FIRST, Run(0.0, 1, False, True), 1.0),
        (EACH, Run(0.0, 1, False, True), 20.0),
        (EACH, Run(0.0, 1, False, False), 1.0),
    ],
)
def test_a_disturbance_lengthens_its_runs(
    disturbance: Disturbance, run: Run, seconds: float
) -> None:
    """Here a run of 1 s."""
    assert disturbance.disturbed(run, 1.0) == pytest.approx(seconds)
