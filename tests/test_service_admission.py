"""The whole service: refusals before the body is read: server/service.py."""

from math import inf

import pytest

from batcher.errors import Overloaded
from server.settings.table import Settings
from tests.fakes.http import request
from tests.fakes.server import Log
from tests.fakes.service import ServiceHarness
from tests.images import coloured, encoded

IMAGE = encoded(coloured(16, 16), "PNG")
POST = request(body=IMAGE)
HEAD = request(headers={"Content-Length": str(len(IMAGE))})

pytestmark = pytest.mark.usefixtures("log", "surroundings")


def refuse(*_: object, **__: object) -> None:
    """Replace `AdmissionControl.admit`: refuse as an overloaded batcher."""
    raise Overloaded(wait=3.25, allowed=0.5)


@pytest.fixture
def busy(harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch) -> ServiceHarness:
    """Return a started server that refuses every request as overload."""
    harness.started()
    monkeypatch.setattr("batcher.admission.AdmissionControl.admit", refuse)
    return harness


def test_a_busy_server_answers_before_the_body_comes(busy: ServiceHarness) -> None:
    """With Retry-After; the connection stays open, and nothing is decoded."""
    client = busy.connect()
    client.send(HEAD)
    answer = client.answer
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")
    assert answer.error == "too busy: an answer is expected in 3.2500 s, and 0.5000 s are allowed"
    assert answer.headers["x-model-version"] == "pets/7"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    client.send(IMAGE)
    client.send(request("GET", "/readyz"))
    assert client.statuses == [429, 200]
    assert not busy.pool.queue


def test_a_server_that_became_busy_refuses_before_it_decodes(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load rises while the body is in transit."""
    client = harness.started().connect()
    client.send(HEAD)
    monkeypatch.setattr("batcher.admission.AdmissionControl.admit", refuse)
    assert client.received == b""
    client.send(IMAGE)
    assert client.statuses == [429]
    assert client.answer.headers["x-model-version"] == "pets/7"
    assert not harness.pool.queue


@pytest.mark.parametrize(
    ("settings", "words", "seconds", "status"),
    [
        (Settings(), "0.5 s for an answer", 0.25, 200),
        (Settings(), "0.5 s for an answer", 1.0, 504),
        (Settings(default_timeout=4.0), "4 s for an answer", 1.0, 200),
        (Settings(default_timeout=4.0), "4 s for an answer", 8.0, 504),
        (Settings(default_timeout=inf), "any time for an answer", 8.0, 200),
    ],
)
def test_a_request_without_a_timeout_has_the_default(
    settings: Settings,
    words: str,
    seconds: float,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    log: Log,
) -> None:
    """The log shows it at the start; here the model hangs for *seconds*."""
    harness = ServiceHarness(monkeypatch, settings).started()
    assert log.lines()[-1].endswith(f"batches of up to 4 rows, {words}")
    client = harness.connect()
    client.send(POST)
    harness.wait(seconds, model=False)
    harness.turn()
    assert client.statuses == [status]
