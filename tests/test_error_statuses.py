"""Which error has which status: server/http/error_statuses.py."""

import json
from collections.abc import Mapping
from dataclasses import replace

import orjson
import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from batcher.error_kind import ErrorKind, RequestError
from batcher.errors import (
    BatcherError,
    DeadlineExceeded,
    OutOfMemory,
    Overloaded,
    QueueFull,
    RefusalError,
    ResultCountMismatch,
    RunFailed,
    RunHung,
    ShuttingDown,
)
from model.errors import ModelError, RowsRefused
from model.execution.decode_pool import PoolNotRunning
from model.images.errors import BadImage, NotAnImage, SideTooLong, TooManyPixels, TruncatedImage
from model.signature import FeedError
from server.api.dialect import Dialect
from server.api.inference_api import InferenceAPI
from server.api.native import NATIVE
from server.http.error_statuses import (
    NATIVE_STATUSES,
    HTTPError,
    Refusal,
    is_server_fault,
    refusal_for,
)
from server.http.limits import BodyTooLarge, TooManyBytesHeld
from server.http.messages import Head, HTTPResponse
from server.models import ModelNotReady, UnknownModel
from tests.fakes.server import FakeInference, Log

BUSY = {"Retry-After": "1"}

FORESEEN: list[tuple[Exception, int, dict[str, str]]] = [
    (BadImage("no image"), 400, {}),
    (NotAnImage("text", 5), 400, {}),
    (TruncatedImage("PNG", 10), 400, {}),
    (TooManyPixels(10, 10, 99), 413, {}),
    (SideTooLong(70_000, 1, 65_535), 413, {}),
    (FeedError("input 'image': expected 4"), 400, {}),
    (QueueFull(rows=1, waiting=8, limit=8), 429, BUSY),
    (Overloaded(wait=1.5, allowed=1.0), 429, BUSY),
    (DeadlineExceeded(0.5, "queue"), 504, {}),
    (ShuttingDown(), 503, BUSY),
    (RunHung(30.0), 503, BUSY),
    (PoolNotRunning("stopped"), 503, BUSY),
    (RunFailed(ValueError("bad op")), 500, {}),
    (ResultCountMismatch(expected=2, got=1), 500, {}),
    (OutOfMemory(4), 500, {}),
    (ModelError("no such file"), 500, {}),
    (ModelNotReady("loading"), 503, BUSY),
    (UnknownModel("no model"), 404, {}),
    (BodyTooLarge("101 bytes"), 413, {}),
    (TooManyBytesHeld("200 bytes"), 429, BUSY),
]


@pytest.mark.parametrize(("error", "status", "headers"), FORESEEN, ids=lambda it: type(it).__name__)
def test_each_error_has_its_status(error: Exception, status: int, headers: dict[str, str]) -> None:
    """Its message is sent to the client."""
    assert refusal_for(error) == Refusal(status, str(error), headers)


@pytest.mark.parametrize(
    ("wait", "allowed", "seconds"),
    [(0.5, 0.5, "1"), (2.0, 1.0, "1"), (2.5, 1.0, "2"), (90, 0, "90")],
)
def test_a_request_to_an_overloaded_server_gets_a_retry_after(
    wait: float, allowed: float, seconds: str
) -> None:
    """In whole seconds, rounded up, and at least one."""
    assert refusal_for(Overloaded(wait, allowed)).headers == {"Retry-After": seconds}


def test_every_error_of_the_batcher_has_a_row() -> None:
    """A new error needs a row in the table above, and a new kind needs a status."""
    known = {type(error) for error, _, _ in FORESEEN}
    assert set(BatcherError.__subclasses__()) - {RefusalError} <= known
    assert set(RefusalError.__subclasses__()) <= known
    assert set(BadImage.__subclasses__()) <= known
    assert set(RequestError.__subclasses__()) <= known | {BatcherError, RowsRefused}
    assert set(NATIVE_STATUSES) == set(ErrorKind)


@pytest.mark.parametrize("status", [400, 404, 415, 503])
def test_an_http_error_is_answered_unchanged(status: int) -> None:
    """With all lines of its message."""
    error = HTTPError(status, "one\ntwo", {"Allow": "POST"})
    assert refusal_for(error) == Refusal(status, "one\ntwo", {"Allow": "POST"})


def test_values_that_the_model_refuses_are_an_error_of_the_client() -> None:
    """A 400, which is not logged."""
    error = RunFailed(RowsRefused("indices[0] = 3 is not in [0, 3)"))
    message = "the model does not take these values: indices[0] = 3 is not in [0, 3)"
    assert refusal_for(error) == Refusal(400, message)
    assert not is_server_fault(error)


def test_an_engines_error_shows_its_first_line_only() -> None:
    """The further lines contain the graph's stack and paths of this machine."""
    cause = ValueError("bad op\n\t [[node secret/path]]\n/home/me/model.py")
    shown = refusal_for(RunFailed(cause))
    assert shown == Refusal(500, "the run failed: ValueError: bad op")
    assert refusal_for(ModelError("one\ntwo")).message == "one"


@pytest.mark.parametrize(
    "error", [ValueError("secret"), KeyError("secret"), CancelledError("secret"), None]
)
def test_an_unexpected_error_reveals_nothing(error: BaseException | None) -> None:
    """It only refers to the log."""
    refusal = refusal_for(error)
    assert refusal.status == 500
    assert refusal.message == (
        "the server failed to answer; the server's log has the reason under this request id"
    )


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (ValueError(), True),
        (RunFailed(ValueError()), True),
        (ModelError("gone"), True),
        (HTTPError(500, "oh"), True),
        (HTTPError(502, "oh"), True),
        (HTTPError(503, "loading"), False),
        (ShuttingDown(), False),
        (QueueFull(1, 8, 8), False),
        (Overloaded(2.0, 1.0), False),
        (DeadlineExceeded(1.0, "answer"), False),
        (BadImage("no"), False),
        (FeedError("no"), False),
    ],
)
def test_only_what_a_client_could_not_avoid_is_logged(error: Exception, ours: bool) -> None:
    """Overload, missed deadlines and bad images are not."""
    assert is_server_fault(error) == ours


def test_a_refusal_is_an_answer_in_json() -> None:
    """With the request id, and headers added to its own."""
    response = Refusal(429, 'say "when"', BUSY).response("the-id", {"Server-Timing": "queue;dur=1"})
    assert response.status == 429
    assert response.content_type == "application/json"
    assert dict(response.headers) == {"Retry-After": "1", "Server-Timing": "queue;dur=1"}
    assert response.body.endswith(b"\n")
    assert json.loads(response.body) == {
        "error": 'say "when"',
        "status": 429,
        "request_id": "the-id",
    }


# --- another dialect

#: The statuses of a dialect in which a busy server is unavailable.
OTHER_STATUSES = {**NATIVE_STATUSES, ErrorKind.OVERLOADED: 503}


def write_other_error(
    error: BaseException | None, _request_id: str, headers: Mapping[str, str]
) -> HTTPResponse:
    """Return the answer for *error* in the other dialect."""
    refusal = refusal_for(error, OTHER_STATUSES)
    body = orjson.dumps({"error": refusal.message})
    return HTTPResponse(refusal.status, body, {**refusal.headers, **headers})


def error_answer(dialect: Dialect, error: Exception) -> HTTPResponse:
    """Return the answer of *dialect* to a request that admission refuses with *error*."""
    clock = Clock()
    inference = FakeInference(clock)
    inference.admission.refusal = error
    api = InferenceAPI(lambda _: inference, dialect, seconds=clock.seconds)
    answer = api.preflight(Head("POST", "/", "", {}, "the-id", 0.0, object()))
    assert isinstance(answer, HTTPResponse)
    return answer


@pytest.mark.parametrize(("error", "status", "headers"), FORESEEN, ids=lambda it: type(it).__name__)
def test_each_dialect_has_its_own_statuses_and_bodies(
    error: Exception, status: int, headers: dict[str, str], log: Log
) -> None:
    """The messages, the headers and the log are the same."""
    other = replace(NATIVE, write_error=write_other_error)
    ours, theirs = error_answer(NATIVE, error), error_answer(other, error)
    assert ours.status == status
    assert theirs.status == (503 if status == 429 else status)
    assert orjson.loads(ours.body).keys() == {"error", "status", "request_id"}
    assert orjson.loads(theirs.body) == {"error": str(error)}
    for answer in (ours, theirs):
        assert dict(answer.headers) == {**headers, "X-Model-Version": "pets/7"}
    assert len(log.flush(type(error))) == (2 if status == 500 else 0)
