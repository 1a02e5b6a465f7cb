"""Until when a request wants its answer, and how much it matters: server/api/request_options.py."""

import pytest

from batcher.priority import Priority
from server.api.request_options import priority_of, read_request_options, timeout_of
from server.http.errors import HTTPError
from tests.fakes.http import http_request


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("1", 0.001),
        ("250", 0.25),
        ("0.5", 0.0005),
        ("2000.", 2.0),
        ("86400000", 86_400.0),
    ],
)
def test_a_client_says_how_long_it_waits(text: str | None, seconds: float | None) -> None:
    """In milliseconds, if it says anything."""
    assert timeout_of({} if text is None else {"x-request-timeout-ms": text}) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "-0.0",
        "",
        "soon",
        "5ms",
        "nan",
        "inf",
        "1e999",
        "86400001",
        "1, 2",
        "0x10",
        "1_000",
        "2e3",
    ],
)
def test_a_timeout_that_cannot_be_is_refused(text: str) -> None:
    """With what it may be."""
    with pytest.raises(HTTPError, match=r"^X-Request-Timeout-Ms: expected .* 86400000, ") as caught:
        timeout_of({"x-request-timeout-ms": text})
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("text", "priority"),
    [
        (None, Priority.NORMAL),
        ("high", Priority.HIGH),
        ("NORMAL", Priority.NORMAL),
        ("Low", Priority.LOW),
    ],
)
def test_a_client_says_how_much_its_request_matters(text: str | None, priority: Priority) -> None:
    """In any case; as much as others where it says nothing."""
    assert priority_of({} if text is None else {"x-request-priority": text}) is priority


@pytest.mark.parametrize("text", ["", "0", "urgent", "high, low", "h\xefgh", "x" * 1000])
def test_a_priority_that_cannot_be_is_refused(text: str) -> None:
    """With what it may be, in one short line."""
    expected = r"^X-Request-Priority: expected high, normal or low, got '.{0,40}'$"
    with pytest.raises(HTTPError, match=expected) as caught:
        priority_of({"x-request-priority": text})
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("headers", "since", "timeout"),
    [({}, 12.0, None), ({"x-request-timeout-ms": "500"}, 8.0, 0.5)],
)
def test_a_clients_own_time_counts_from_the_head_and_the_default_from_now(
    headers: dict[str, str], since: float, timeout: float | None
) -> None:
    """Whose body is long on its way has not asked for less time."""
    request = http_request(received=8.0, headers=headers)
    options = read_request_options(request, 12.0)
    assert (options.since, options.timeout, options.source) == (since, timeout, request.connection)
