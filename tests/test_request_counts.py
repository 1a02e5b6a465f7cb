"""The counts of the requests of a model: server/request_counts.py."""

from server.request_counts import ANSWERED, RequestCounts


def test_a_request_is_in_progress_until_its_first_end() -> None:
    """Later ends of the same request count nothing."""
    counts = RequestCounts()
    first, second, _ = (counts.receive() for _ in range(3))
    assert (counts.received, counts.in_progress, counts.ended) == (3, 3, {})
    first.end(ANSWERED)
    first.end(("cancelled", "run"))
    second.end(("refused", "late"))
    assert counts.ended == {ANSWERED: 1, ("refused", "late"): 1}
    assert (counts.received, counts.in_progress) == (3, 1)
