"""The rows that wait: order, bounds, expiry and fairness."""

from math import inf

from batcher.learning.latency import LatencyCurve
from batcher.pending import Part, Pending, ProfileQueue, Ticket
from batcher.policy import QueueView
from batcher.priority import Turns
from batcher.profile import Profile
from tests.fakes.executor import Rows, join_rows, rows_of

StrTicket = Ticket[str, Rows[str]]

ONE, OTHER = (Profile(LatencyCurve({}), 8, 64) for _ in range(2))


def ticket(number: int, rows: int = 1, profile: Profile = ONE, deadline: float = inf) -> StrTicket:
    """Return a ticket named and arrived by its *number*."""
    return Ticket(number, f"item {number}", rows, profile, float(number), deadline)


def waiting(*tickets: StrTicket) -> Pending[str, Rows[str]]:
    """Return the queues of *tickets*."""
    pending: Pending[str, Rows[str]] = Pending()
    for each in tickets:
        pending.push(each)
    return pending


def spans(parts: list[Part[str, Rows[str]]]) -> list[tuple[int, int, int]]:
    """Return number, first row and end of each part."""
    return [(part.ticket.number, part.start, part.stop) for part in parts]


def test_rows_leave_in_order_of_arrival_and_a_request_may_leave_in_parts() -> None:
    """Three takes of four rows cut the second and third request where the batches end."""
    pending = waiting(ticket(1, 3), ticket(2, 2), ticket(3, 6))
    assert pending.rows == 11
    assert spans(pending.take(ONE, 4)[0]) == [(1, 0, 3), (2, 0, 1)]
    assert spans(pending.take(ONE, 4)[0]) == [(2, 1, 2), (3, 0, 3)]
    assert pending.rows == 3
    assert spans(pending.take(ONE, 4)[0]) == [(3, 3, 6)]
    assert pending.rows == 0
    assert pending.by_turn() == []


def test_removal_takes_only_what_still_waits() -> None:
    """Of a request half launched the other half, of a stranger nothing, and twice is once."""
    half, whole, gone = ticket(1, 4), ticket(2, 2), ticket(3, 5)
    pending = waiting(half, whole)
    pending.take(ONE, 3)
    pending.remove(half)
    assert pending.rows == 2
    pending.remove(half)
    pending.remove(gone)
    assert pending.rows == 2
    assert spans(pending.take(ONE, 9)[0]) == [(2, 0, 2)]
    pending.remove(whole)
    assert pending.rows == 0


def test_expiry_removes_those_whose_deadline_has_come() -> None:
    """At the deadline itself, the earliest first, whatever the order of arrival or the profile."""
    late, soon, never, other = (
        ticket(1, deadline=9.0),
        ticket(2, 2, deadline=4.0),
        ticket(3),
        ticket(4, profile=OTHER, deadline=6.0),
    )
    pending = waiting(late, soon, never, other)
    assert pending.deadline() == 4.0
    assert pending.expired(3.0) == []
    assert pending.expired(6.0) == [soon, other]
    assert pending.rows == 2
    assert pending.deadline() == 9.0
    assert pending.expired(16.0) == [late]
    assert pending.deadline() == inf
    assert pending.rows == 1


def test_a_deadline_is_forgotten_with_its_request() -> None:
    """Launched or removed, it neither expires nor rings; half launched, it still does."""
    launched, removed, half = (
        ticket(1, deadline=2.0),
        ticket(2, deadline=3.0),
        ticket(3, 2, deadline=4.0),
    )
    pending = waiting(launched, removed, half)
    pending.remove(removed)
    pending.take(ONE, 2)
    assert pending.deadline() == 4.0
    assert pending.expired(8.0) == [half]


def test_deadlines_of_the_departed_do_not_pile_up() -> None:
    """Behind one early deadline that stays, a thousand come and go; few are remembered."""
    queue: ProfileQueue[str, Rows[str]] = ProfileQueue(ONE, Turns())
    queue.push(ticket(0, deadline=1.0))
    for number in range(1, 1000):
        visitor = ticket(number, deadline=1000.0 - number)
        queue.push(visitor)
        queue.remove(visitor)
    assert len(queue._deadlines) < 100
    assert queue.deadline() == 1.0
    assert queue.rows == 1


def test_deadlines_of_a_crowd_are_kept_and_forgotten_when_it_has_gone() -> None:
    """A queue that has been long may remember as many as waited, and no more."""
    queue: ProfileQueue[str, Rows[str]] = ProfileQueue(ONE, Turns())
    crowd = [ticket(number, deadline=2000.0 - number) for number in range(1000)]
    for each in crowd:
        queue.push(each)
    assert queue.deadline() == 1001.0
    for each in crowd[:-1]:
        queue.remove(each)
    for number in range(1000, 4000):
        visitor = ticket(number, deadline=5000.0 - number)
        queue.push(visitor)
        queue.remove(visitor)
        assert len(queue._deadlines) < 3000
    assert len(queue._deadlines) < 100
    assert queue.deadline() == 1001.0


def test_profiles_come_in_the_order_of_their_oldest_heads() -> None:
    """A busy one that keeps getting more does not overtake the head of a quiet one."""
    pending = waiting(ticket(1, 8, ONE), ticket(2, 1, OTHER), ticket(3, 8, ONE))
    assert [queue.head.number for queue in pending.by_turn()] == [1, 2]
    assert (pending.rows_of(ONE), pending.rows_of(OTHER)) == (16, 1)
    pending.take(ONE, 8)
    pending.push(ticket(4, 8, ONE))
    assert [queue.head.number for queue in pending.by_turn()] == [2, 3]


def test_a_view_tells_what_a_policy_may_see() -> None:
    """Rows still waiting, the head's arrival, the earliest deadline, l(b), and no payload."""
    pending = waiting(ticket(4, 3), ticket(5, 2, deadline=9.0))
    pending.take(ONE, 1)
    (queue,) = pending.by_turn()
    assert queue.view(5.0, draining=False) == QueueView(4, 4.0, 9.0, False, ONE.latency)
    assert queue.view(5.0, draining=True) == QueueView(4, 4.0, 9.0, True, ONE.latency)


def test_results_of_parts_are_joined_in_order_of_rows() -> None:
    """However they came; a single part is not joined at all."""
    split = ticket(1, 3)
    pending = waiting(split)
    first, second = pending.take(ONE, 2)[0][0], pending.take(ONE, 2)[0][0]
    split.add(second, rows_of(second))
    assert split.done == 1
    split.add(first, rows_of(first))
    assert split.done == 3
    assert split.joined(join_rows) == [("item 1", 0), ("item 1", 1), ("item 1", 2)]
    whole = ticket(2)
    whole.add(Part("item 2", 0, 1, whole), [("item 2", 0)])
    assert whole.joined(lambda parts: [("joined", len(parts))]) == [("item 2", 0)]
