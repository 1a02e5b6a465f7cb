"""Timeout and priority in the head of a request: server/api/request_options.py."""

import pytest

from batcher.priority import Priority
from server.api.request_options import priority_of, read_request_options, timeout_of
from server.http.error_statuses import HTTPError
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
def test_a_timeout_is_read_in_milliseconds(text: str | None, seconds: float | None) -> None:
    """Without the header there is none."""
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
def test_an_invalid_timeout_is_refused(text: str) -> None:
    """With the values that are accepted."""
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
def test_a_priority_is_read_by_its_name(text: str | None, priority: Priority) -> None:
    """In upper or lower case; without the header it is normal."""
    assert priority_of({} if text is None else {"x-request-priority": text}) is priority


@pytest.mark.parametrize("text", ["", "0", "urgent", "high, low", "h\xefgh", "x" * 1000])
def test_an_invalid_priority_is_refused(text: str) -> None:
    """With the values that are accepted, in one short line."""
    expected = r"^X-Request-Priority: expected high, normal or low, got '.{0,40}'$"
    with pytest.raises(HTTPError, match=expected) as caught:
        priority_of({"x-request-priority": text})
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("headers", "since", "timeout"),
    [({}, 12.0, None), ({"x-request-timeout-ms": "500"}, 8.0, 0.5)],
)
def test_a_clients_timeout_counts_from_the_head_and_the_default_from_now(
    headers: dict[str, str], since: float, timeout: float | None
) -> None:
    """The time to send a body does not shorten the default."""
    request = http_request(received=8.0, headers=headers)
    options = read_request_options(request, 12.0)
    assert (options.since, options.timeout, options.source) == (since, timeout, request.connection)
