"""A registry with many workers: benchmarks/registrations.py, without a socket."""

from typing import Any

import click
import pytest
from twisted.internet.testing import StringTransport

from benchmarks.registrations import CURL, MAX_REQUEST_BYTES, Exchange, SimulatedWorker, verdicts
from server.discovery.worker_record import from_json
from tests.fakes.threads import outcomes


def connected() -> tuple[Exchange, StringTransport]:
    """Return a connection and what it sends."""
    exchange, wire = Exchange(), StringTransport()
    exchange.makeConnection(wire)  # type: ignore[no-untyped-call]  # Twisted's
    return exchange, wire


def test_all_bytes_of_a_request_and_its_answer_are_counted() -> None:
    """The answer may arrive in pieces."""
    exchange, wire = connected()
    answer = outcomes(exchange.ask(CURL))
    received = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n8000\n"
    for start in range(0, len(received), 7):
        assert answer == []
        exchange.dataReceived(received[start : start + 7])
    assert answer == [b"8000\n"]
    assert wire.value() == CURL
    assert (exchange.sent, exchange.received) == (len(CURL), len(received))


def test_an_answer_that_is_an_error_fails() -> None:
    """Its head is in the message."""
    exchange, _ = connected()
    (error,) = [outcomes(exchange.ask(CURL))]
    exchange.dataReceived(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(error[0], click.ClickException)
    assert "503 Service Unavailable" in error[0].message


def test_each_report_has_another_wait() -> None:
    """So that the registry reads each of them."""
    exchange, wire = connected()
    worker = SimulatedWorker(7, exchange)
    waits = set()
    for _ in range(50):
        outcomes(worker.report())
        head, _, body = wire.value().partition(b"\r\n\r\n")
        wire.clear()
        assert f"Content-Length: {len(body)}".encode() in head
        record = from_json(body)
        assert (record.id, record.port) == ("w-7", 1031)
        assert record.models is not None
        waits.add(record.models["classifier"].expected_wait)
    assert len(waits) == worker.reports == 50


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (
            {"request_bytes": MAX_REQUEST_BYTES, "http_gone_s": 11.0, "dns_gone_s": 1.0},
            ["pass"] * 3,
        ),
        (
            {"request_bytes": MAX_REQUEST_BYTES + 1, "http_gone_s": 11.1},
            ["FAIL"] * 3,
        ),
    ],
    ids=["pass", "FAIL"],
)  # fmt: skip
def test_the_bounds_are_upper_ones(figures: dict[str, Any], expected: list[str]) -> None:
    """A figure that was not measured fails."""
    assert [it[""] for it in verdicts(figures)] == expected
