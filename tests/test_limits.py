"""The limits of request bodies: server/http/limits.py."""

import pytest

from server.http.error_statuses import refusal_for
from server.http.limits import BodyLimits, BodyTooLarge, TooManyBytesHeld


@pytest.mark.parametrize("length", [None, 0, 99, 100])
def test_a_length_up_to_the_limit_passes(length: int | None) -> None:
    """So does a body without a declared length; it is counted as it arrives."""
    limits = BodyLimits(max_body=100, max_held=1000)
    limits.check_length(length)
    assert limits.held == 0


def test_a_length_over_the_limit_is_refused_with_both_numbers() -> None:
    """The client can act upon them."""
    limits = BodyLimits(max_body=100, max_held=1000)
    with pytest.raises(BodyTooLarge, match=r"the body is 101 bytes, the limit is 100$") as caught:
        limits.check_length(101)
    assert refusal_for(caught.value).status == 413


@pytest.mark.parametrize(
    ("already", "more", "status"),
    [(0, 100, None), (99, 1, None), (0, 101, 413), (100, 1, 413), (0, 51, None)],
)
def test_one_body_may_grow_up_to_its_limit(already: int, more: int, status: int | None) -> None:
    """And only accepted bytes are counted."""
    limits = BodyLimits(max_body=100, max_held=1000)
    if status is None:
        limits.hold(already, more)
        assert limits.held == more
    else:
        with pytest.raises(BodyTooLarge, match="more than 100 bytes") as caught:
            limits.hold(already, more)
        assert refusal_for(caught.value).status == status
        assert limits.held == 0


def test_all_bodies_together_may_grow_up_to_their_limit() -> None:
    """One byte more is refused for now; released bytes may be held again."""
    limits = BodyLimits(max_body=100, max_held=150)
    limits.hold(0, 100)
    with pytest.raises(
        TooManyBytesHeld, match=r"holds 100 bytes of requests, the limit is 150"
    ) as caught:
        limits.hold(0, 51)
    refusal = refusal_for(caught.value)
    assert (refusal.status, refusal.headers) == (429, {"Retry-After": "1"})
    assert limits.held == 100
    limits.hold(0, 50)
    limits.release(100)
    assert limits.held == 50
    limits.hold(0, 100)
    assert limits.held == 150


def test_a_body_over_both_limits_is_too_long() -> None:
    """A retry would not help, so it gets no 429."""
    limits = BodyLimits(max_body=100, max_held=100)
    limits.hold(0, 100)
    with pytest.raises(BodyTooLarge, match="more than 100 bytes") as caught:
        limits.hold(0, 101)
    assert refusal_for(caught.value).status == 413
