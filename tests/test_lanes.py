"""The lanes and the batches on them: batcher/lanes.py."""

from collections.abc import Sequence
from math import inf

import pytest
from twisted.internet.defer import Deferred

from batcher.batch import Batch
from batcher.executor import Piece
from batcher.lanes import HANGING, Departure, Flight, Flights
from batcher.learning.latency import LatencyCurve
from batcher.pending import Part, Ticket
from batcher.profile import Profile
from batcher.trace import Run

PROFILE = Profile(LatencyCurve({}), 8, 64)
PATIENCE = 32.0


class NamedLane:
    """A lane that is never asked: whoever keeps count of lanes runs nothing."""

    seconds: float | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, pieces: Sequence[Piece[str]]) -> Deferred[Sequence[str]]:
        """Fail."""
        raise AssertionError(f"{self.name} was asked to run {pieces}")


def flights_on(names: str, patience: float = PATIENCE) -> Flights[str, str]:
    """Return flights over lanes with these *names*."""
    return Flights([NamedLane(name) for name in names], patience, 0.0)


def launched(
    flights: Flights[str, str], now: float = 0.0, expected: float = 1.0
) -> Flight[str, str]:
    """Launch a batch of one row at *now*."""
    ticket: Ticket[str, str] = Ticket(1, "item", 1, PROFILE, 0.0)
    batch = Batch([Part("item", 0, 1, ticket)])
    return flights.launch(batch, Departure(Run(1, 8, "idle"), now, expected, 0))


def lane_of(flight: Flight[str, str]) -> str:
    """Return the name of the lane that *flight* is on."""
    assert isinstance(flight.executor, NamedLane)
    return flight.executor.name


def test_the_lane_that_ran_last_goes_next() -> None:
    """It has the warmest caches; those that never ran go in order."""
    flights = flights_on("abc")
    first, second = launched(flights), launched(flights)
    assert (lane_of(first), lane_of(second)) == ("a", "b")
    flights.land(second, 1.0)
    flights.land(first, 2.0)
    assert [lane_of(launched(flights)) for _ in "abc"] == ["a", "b", "c"]
    assert flights.idle == []


def test_what_runs_stands_in_order_of_launch() -> None:
    """Whatever has ended in between."""
    flights = flights_on("abc")
    first, second, third = (launched(flights) for _ in range(3))
    assert (len(flights), list(flights)) == (3, [first, second, third])
    flights.land(second, 1.0)
    fourth = launched(flights)
    assert (len(flights), list(flights)) == (3, [first, third, fourth])


@pytest.mark.parametrize(("now", "taken"), [(5.0, 2.0), (3.0, 0.0), (1.0, 0.0)])
def test_the_end_of_a_run_tells_how_long_it_took(now: float, taken: float) -> None:
    """Launched at 3.0; never less than nothing, though the clock be set back."""
    flights = flights_on("a")
    flight = launched(flights, 3.0)
    assert flights.land(flight, now) == taken
    assert flight.departure.run.seconds == taken


@pytest.mark.parametrize(
    ("patience", "expected", "hangs_at"),
    [
        (PATIENCE, 0.0, 4.0 + PATIENCE),
        (PATIENCE, PATIENCE / HANGING, 4.0 + PATIENCE),
        (PATIENCE, PATIENCE, 4.0 + HANGING * PATIENCE),
        (inf, 1.0, inf),
    ],
)
def test_a_run_may_take_the_patience_or_ten_times_the_usual(
    patience: float, expected: float, hangs_at: float
) -> None:
    """Whichever is more, from its launch at 4.0."""
    flights = flights_on("ab", patience)
    assert flights.hangs_at() == inf
    flight = launched(flights, 4.0, expected)
    launched(flights, 8.0, expected)
    assert flights.hangs_at() == hangs_at
    if hangs_at < inf:
        assert flights.give_up(hangs_at - 1.0) == []
        assert flights.give_up(hangs_at) == [flight]


def test_who_was_given_up_is_told_once_and_counts_until_it_ends() -> None:
    """Its lane with it; the next one's time is told then."""
    flights = flights_on("ab")
    first, second = launched(flights, 0.0), launched(flights, 1.0)
    assert flights.give_up(PATIENCE) == [first]
    assert (flights.hung, flights.all_hung, flights.hangs_at()) == (1, False, 1.0 + PATIENCE)
    assert flights.give_up(PATIENCE) == []
    assert flights.give_up(2 * PATIENCE) == [second]
    assert (flights.hung, flights.all_hung, flights.hangs_at()) == (2, True, inf)
    assert (len(flights), flights.idle) == (2, [])
    assert flights.land(first, 100.0) == 100.0
    assert (flights.hung, flights.all_hung, len(flights)) == (1, False, 1)
    flights.land(second, 100.0)
    assert (flights.hung, len(flights), len(flights.idle)) == (0, 0, 2)


def test_several_may_be_given_up_at_once() -> None:
    """In order of launch."""
    flights = flights_on("abc")
    all_ = [launched(flights) for _ in range(3)]
    assert flights.give_up(PATIENCE) == all_
    assert flights.all_hung


@pytest.mark.parametrize(
    ("launches", "now", "seconds"),
    [
        ([], 0.0, 0.0),
        ([(0.0, 9.0)], 1.0, 0.0),  # the other lane is idle
        ([(0.0, 9.0), (1.0, 4.0)], 2.0, 3.0),
        ([(0.0, 3.0), (1.0, 4.0)], 2.0, 1.0),
        ([(0.0, 3.0), (1.0, 4.0)], 3.0, 0.0),
        ([(0.0, 3.0), (1.0, 4.0)], 9.0, 0.0),  # longer than expected: at any moment
    ],
)
def test_a_lane_is_free_when_the_first_run_ends(
    launches: Sequence[tuple[float, float]], now: float, seconds: float
) -> None:
    """As expected; at once where one is idle."""
    flights = flights_on("ab")
    for started, expected in launches:
        launched(flights, started, expected)
    assert flights.free_in(now) == seconds


def test_a_run_that_hangs_frees_no_lane() -> None:
    """Nobody knows when, if ever."""
    flights = flights_on("ab")
    launched(flights, 0.0)
    launched(flights, PATIENCE - 1.0, 2.0)
    flights.give_up(PATIENCE)
    assert flights.free_in(PATIENCE) == 1.0
    flights.give_up(2 * PATIENCE)
    assert flights.free_in(2 * PATIENCE) == inf
