"""Who was just answered, and how soon such clients come back."""

import pytest

from batcher.learning.returns import MAX_PAUSE_BATCHES, MIN_RETURNS, NONE_RETURNING, Returns


def learned(seconds: float = 1.0) -> Returns:
    """Return what has seen two clients come back so soon, often enough."""
    returns = Returns()
    for turn in range(MIN_RETURNS):
        answered(returns, 10.0 * turn)
        for client in "ab":
            returns.observe(client, 1, 10.0 * turn + seconds)
    return returns


def answered(returns: Returns, now: float) -> None:
    """Answer both clients, a row each."""
    returns.answered([("a", 1), ("b", 1)], now)


def test_nobody_is_expected_before_enough_has_been_seen() -> None:
    """Nor where nobody says who sends."""
    returns = Returns()
    answered(returns, 0.0)
    assert returns.expect() is NONE_RETURNING
    returns.answered([], 1.0)
    assert returns.expect() is NONE_RETURNING


def test_those_who_are_missing_are_expected() -> None:
    """Fewer with each who comes; strangers do not count."""
    returns = learned()
    answered(returns, 100.0)
    assert returns.expect().rows == 2
    assert returns.expect().since == 100.0
    assert returns.expect().within(2) == pytest.approx(1.0)
    assert not returns.observe("stranger", 1, 100.5)
    assert returns.observe("a", 1, 100.5)
    assert returns.expect().rows == 1
    assert not returns.observe("b", 1, 100.5)
    assert returns.expect().rows == 0


def test_who_brings_another_number_of_rows_was_not_foreseen() -> None:
    """Whoever waits for as many as there were would wait in vain."""
    returns = learned()
    answered(returns, 100.0)
    assert not returns.observe("a", 2, 100.5)
    assert returns.expect().rows == 1


@pytest.mark.parametrize(
    ("first", "last", "of_two", "of_six"),
    [
        (1.0, 1.0, 1.0, 1.0),  # on the way for long, and all at once
        (0.9, 1.0, 1.0, 1.8),  # one after the other, as long again for each answer
        (0.5, 1.0, 1.0, 3.0),  # all the time is theirs
        (0.0, 1.0, 1.0, 3.0),  # and never more than that
    ],
)
def test_more_take_longer_only_by_what_passes_between_them(
    first: float, last: float, of_two: float, of_six: float
) -> None:
    """The time on the way is the same for all."""
    returns = Returns()
    for turn in range(MIN_RETURNS):
        answered(returns, 10.0 * turn)
        returns.observe("a", 1, 10.0 * turn + first)
        returns.observe("b", 1, 10.0 * turn + last)
    assert returns.expect().within(2) == pytest.approx(of_two)
    assert returns.expect().within(6) == pytest.approx(of_six)


def test_of_batches_of_one_nothing_is_known_but_that_more_take_longer() -> None:
    """In proportion."""
    returns = Returns()
    for turn in range(MIN_RETURNS):
        returns.answered([("a", 1)], 10.0 * turn)
        returns.observe("a", 1, 10.0 * turn + 1.0)
    assert returns.expect().within(1) == pytest.approx(1.0)
    assert returns.expect().within(3) == pytest.approx(3.0)


def test_a_client_of_many_rows_is_one() -> None:
    """Its rows come together, and say nothing of what passes between one client and the next."""
    alone, two = Returns(), Returns()
    for turn in range(MIN_RETURNS):
        alone.answered([("a", 4)], 10.0 * turn)
        alone.observe("a", 1, 10.0 * turn + 1.0)
        two.answered([("a", 4), ("b", 4)], 10.0 * turn)
        two.observe("a", 1, 10.0 * turn + 0.75)
        two.observe("b", 1, 10.0 * turn + 1.0)
    assert alone.expect().within(12) == pytest.approx(3.0)
    assert two.expect().within(12) == pytest.approx(1.0 + 4 * 2 * 0.25 / 4)


def test_who_mostly_does_not_come_back_is_not_waited_for() -> None:
    """More than half of the batches that are remembered."""
    returns = learned()
    for turn in range(MIN_RETURNS + 1):
        answered(returns, 100.0 + turn)
    assert returns.expect() is NONE_RETURNING


def test_a_hold_that_fails_is_followed_by_longer_and_longer_pauses() -> None:
    """And one that succeeds ends them."""
    returns = learned()
    for pause in (2, 4, 8, 16, 32, MAX_PAUSE_BATCHES, MAX_PAUSE_BATCHES):
        answered(returns, 0.0)
        returns.hold()
        returns.launched()
        for _ in range(pause):
            assert returns.expect() is NONE_RETURNING
            returns.launched()
        for client in "ab":
            returns.observe(client, 1, 1.0)
        assert returns.expect() is not NONE_RETURNING
    answered(returns, 0.0)
    returns.hold()
    for client in "ab":
        returns.observe(client, 1, 1.0)
    assert returns.expect().held
    returns.launched()
    assert returns.expect() is not NONE_RETURNING
