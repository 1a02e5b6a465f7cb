"""The native dialect, `POST /` with an image: server/api/native.py."""

from dataclasses import dataclass, field

import numpy as np
import orjson
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from batcher.errors import (
    DeadlineExceeded,
    Overloaded,
    QueueFull,
    RunFailed,
    RunHung,
    ShuttingDown,
)
from batcher.trace import Run, Trace
from model.images.header import NotAnImage, TooManyPixels
from server.api.dialect import InferenceAPI, server_timing
from server.api.native import NATIVE, label_count
from server.http.errors import HTTPError
from server.http.messages import Head, HTTPRequest, HTTPResponse
from server.inference import Inference, Prediction, Timing
from tests.fakes.http import http_request
from tests.fakes.server import FakeInference, Log, prediction
from tests.fakes.threads import kinds, outcomes

IMAGE = b"\x89PNG\r\n\x1a\n--not a boundary\r\n\0\xff"


pytestmark = pytest.mark.usefixtures("log")


@dataclass
class EndpointFixture:
    """The endpoint before an inference that answers when told."""

    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        """Build it."""
        self.inference = FakeInference(self.clock)
        self.api = InferenceAPI(lambda: self.inference, NATIVE, seconds=self.clock.seconds)

    def answered(self, request: HTTPRequest, answer: Prediction | Exception) -> HTTPResponse:
        """Return the response to *request* where the inference gives *answer*."""
        fired = outcomes(self.api.predict(request))
        assert fired == []
        deferred = self.inference.calls[-1].answer
        if isinstance(answer, Prediction):
            deferred.callback(answer)
        else:
            deferred.errback(answer)
        return the_response(fired)


def the_response(fired: list[object]) -> HTTPResponse:
    """Return the only thing that has fired."""
    (response,) = fired
    assert isinstance(response, HTTPResponse)
    return response


def refused(response: HTTPResponse) -> str:
    """Return what a refusal says."""
    content = orjson.loads(response.body)
    assert content["status"] == response.status
    assert content["request_id"] == "the-id"
    return str(content["error"])


# --- answers


def test_an_answer_is_pairs_of_label_and_score() -> None:
    """The best first; each score in the fewest digits that still give the same float32."""
    scores = prediction(cat=0.1, dog=1 / 3, eel=1e-7)
    response = EndpointFixture().answered(http_request(IMAGE), scores)
    assert response.status == 200
    assert response.content_type == "application/json"
    assert response.body == b'[["cat",0.1],["dog",0.33333334],["eel",1e-7]]\n'
    for (_, score), (_, sent) in zip(scores.classes, orjson.loads(response.body), strict=True):
        assert np.float32(sent) == score


def test_labels_are_written_as_they_are() -> None:
    """In UTF-8, with what JSON needs escaped."""
    labels = Prediction([('café "au lait"\n', np.float32(1.0))])
    response = EndpointFixture().answered(http_request(IMAGE), labels)
    assert orjson.loads(response.body) == [['café "au lait"\n', 1.0]]
    assert "café".encode() in response.body


def test_an_answer_tells_its_model_and_its_times() -> None:
    """Those that the inference noted on the way, and the writing of the answer itself."""
    fixture = EndpointFixture()
    fired = outcomes(fixture.api.predict(http_request(IMAGE)))
    call = fixture.inference.calls[0]
    call.timing.decode = 0.0015
    call.timing.trace.queued = 0.25
    call.timing.trace.runs.append(Run(rows=3, cap=8, reason="idle", seconds=0.5))
    call.answer.callback(prediction(cat=1.0))
    assert dict(the_response(fired).headers) == {
        "X-Model-Version": "pets/7",
        "Server-Timing": "decode;dur=1.500, queue;dur=250.000, run;dur=500.000, "
        'encode;dur=0.000, batch;desc="3/8 idle"',
    }


ERRORS: list[tuple[Exception, int]] = [
    (NotAnImage("text", 5), 400),
    (TooManyPixels(100, 100, 99), 413),
    (QueueFull(rows=1, waiting=8, limit=8), 429),
    (DeadlineExceeded(0.5, "queue"), 504),
    (ShuttingDown(), 503),
    (RunFailed(ValueError("bad op")), 500),
    (ZeroDivisionError("secret"), 500),
    (CancelledError(), 500),
]


@pytest.mark.parametrize(("error", "status"), ERRORS, ids=lambda it: type(it).__name__)
def test_an_error_tells_the_model_and_the_times_too(
    error: Exception, status: int, log: Log
) -> None:
    """A client, and a load test, can see how far the request came."""
    fixture = EndpointFixture()
    fired = outcomes(fixture.api.predict(http_request(IMAGE)))
    fixture.inference.calls[0].timing.decode = 0.002
    fixture.inference.calls[0].answer.errback(error)
    if isinstance(error, CancelledError):
        assert kinds(fired) == [CancelledError]  # for the door to say whose wish it was
        return
    response = the_response(fired)
    assert response.status == status
    assert refused(response)
    assert response.headers["X-Model-Version"] == "pets/7"
    assert response.headers["Server-Timing"] == "decode;dur=2.000"
    assert ("Retry-After" in response.headers) == (status in (429, 503))
    logged = log.flush(type(error))
    assert len(logged) == (status == 500)
    assert all(line.startswith("request the-id failed") for line in logged)


def test_a_request_that_is_refused_at_once_tells_the_model() -> None:
    """It was not timed, so there is no header of times."""
    fixture = EndpointFixture()
    response = the_response(outcomes(fixture.api.predict(http_request(b""))))
    assert response.status == 400
    assert dict(response.headers) == {"X-Model-Version": "pets/7"}
    assert fixture.inference.calls == []


def test_while_there_is_no_model_nothing_is_asked() -> None:
    """Whoever knows why says so; the door makes an answer of it."""

    def none() -> Inference:
        raise HTTPError(503, "loading")

    api = InferenceAPI(none, NATIVE, seconds=Clock().seconds)
    with pytest.raises(HTTPError, match="loading"):
        api.predict(http_request(IMAGE))


def head(**headers: str) -> Head:
    """Return the head of a request; an underscore in a name is a dash."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head("POST", "/", fields, "the-id", 0.0, object())


def test_a_head_that_is_welcome_is_let_in() -> None:
    """And looked at once more when the body is there: meanwhile others have come."""
    fixture = EndpointFixture()
    assert fixture.api.preflight(head(x_request_timeout_ms="500")) is None
    fixture.inference.refusal = Overloaded(2.5, 0.5)
    response = the_response(outcomes(fixture.api.predict(http_request(IMAGE))))
    assert (response.status, response.headers["Retry-After"]) == (429, "2")
    assert [options.timeout for options in fixture.inference.admitted] == [0.5, None]
    assert fixture.inference.calls == []


def test_who_was_let_in_a_moment_ago_is_not_looked_at_again() -> None:
    """His body came with his head, and nobody in between."""
    fixture = EndpointFixture()
    fixture.inference.refusal = Overloaded(2.5, 0.5)
    fixture.api.predict(http_request(IMAGE, admitted=True))
    assert fixture.inference.admitted == []
    assert len(fixture.inference.calls) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(Overloaded(2.5, 0.5), 429), (DeadlineExceeded(0.0, "submit"), 504), (RunHung(9.0), 503)],
)
def test_a_head_is_refused_as_a_request_would_be(error: Exception, status: int) -> None:
    """With the model's name."""
    fixture = EndpointFixture()
    fixture.inference.refusal = error
    response = fixture.api.preflight(head())
    assert response is not None
    assert (response.status, refused(response)) == (status, str(error))
    assert response.headers["X-Model-Version"] == "pets/7"


@pytest.mark.parametrize(
    "headers", [{"x_request_timeout_ms": "soon"}, {"x_request_priority": "urgent"}]
)
def test_a_head_that_means_nothing_is_refused(headers: dict[str, str]) -> None:
    """Before anybody is asked."""
    fixture = EndpointFixture()
    response = fixture.api.preflight(head(**headers))
    assert response is not None
    assert response.status == 400
    assert "expected" in refused(response)
    assert fixture.inference.admitted == []


def test_a_preflight_that_fails_is_an_answer_too(log: Log) -> None:
    """And is logged: nobody foresaw it."""
    fixture = EndpointFixture()
    fixture.inference.refusal = ZeroDivisionError("secret")
    response = fixture.api.preflight(head())
    assert response is not None
    assert response.status == 500
    assert len(log.flush(ZeroDivisionError)) == 1


def test_while_there_is_no_model_no_body_is_wanted() -> None:
    """It would be read in vain."""

    def none() -> Inference:
        raise HTTPError(503, "loading")

    api = InferenceAPI(none, NATIVE, seconds=Clock().seconds)
    response = api.preflight(head())
    assert response is not None
    assert (response.status, refused(response)) == (503, "loading")
    assert dict(response.headers) == {}


def test_a_hang_up_cancels_the_work() -> None:
    """Nobody waits for it any more."""
    fixture = EndpointFixture()
    disconnected: Deferred[None] = Deferred()
    fired = outcomes(fixture.api.predict(http_request(IMAGE, disconnected=disconnected)))
    assert fixture.inference.cancelled == 0
    disconnected.callback(None)
    assert fixture.inference.cancelled == 1
    assert kinds(fired) == [CancelledError]


def test_a_hang_up_after_the_answer_changes_nothing() -> None:
    """Nor after a refusal."""
    fixture = EndpointFixture()
    disconnected: Deferred[None] = Deferred()
    request = http_request(IMAGE, disconnected=disconnected)
    assert fixture.answered(request, prediction(cat=1.0)).status == 200
    assert fixture.answered(request, QueueFull(1, 8, 8)).status == 429
    disconnected.callback(None)
    assert fixture.inference.cancelled == 0


# --- how many labels, and by when


@pytest.mark.parametrize(
    ("values", "k"),
    [(None, 5), (("1",), 1), (("7",), 7), (("1000",), 1000), (("007",), 7)],
)
def test_k_is_how_many_labels_are_wanted(values: tuple[str, ...] | None, k: int) -> None:
    """The default where it is not given."""
    assert label_count({} if values is None else {"k": values}, 5, 1000) == k


def test_the_default_is_no_more_than_there_are() -> None:
    """A model of two classes has no five best."""
    assert label_count({}, 5, 2) == 2


@pytest.mark.parametrize(
    "values",
    [
        *[(text,) for text in ("0", "8", "-1", "+1", "1.0", "1e0", "", " 1", "one", "²", "٣")],
        *[(text,) for text in ("9" * 10, "9" * 5000, "0x1", "1_0", "nan")],
        ("1", "2"),
        ("1", "1"),
    ],
)
def test_a_k_that_cannot_be_is_refused(values: tuple[str, ...]) -> None:
    """With what it may be."""
    with pytest.raises(HTTPError, match=r"^k: expected .*1 to 7, got ") as caught:
        label_count({"k": values}, 5, 7)
    assert caught.value.status == 400


@pytest.mark.parametrize("query", [{"K": ("1",)}, {"top": ("1",)}, {"k": ("1",), "x": ("",)}])
def test_a_parameter_that_means_nothing_here_is_refused(query: dict[str, tuple[str, ...]]) -> None:
    """A misspelt one would otherwise be taken for granted."""
    with pytest.raises(HTTPError, match=r"unknown query parameter '(K|top|x)': there is only 'k'"):
        label_count(query, 5, 7)


def test_what_a_request_asks_for_reaches_the_classifier() -> None:
    """The time to answer counts from when its head was read."""
    fixture = EndpointFixture()
    fixture.api.predict(http_request(IMAGE)).addErrback(lambda _: None)
    fixture.api.predict(
        http_request(
            IMAGE, query={"k": ("3",)}, received=64.0, headers={"x-request-timeout-ms": "500"}
        )
    )
    first, second = fixture.inference.calls
    assert (first.data, first.k, first.options.timeout) == (IMAGE, 2, None)
    assert (second.data, second.k, second.options.timeout) == (IMAGE, 3, 0.5)
    assert second.options.since == 64.0


# --- times


@pytest.mark.parametrize(
    ("timing", "header"),
    [
        (Timing(), None),
        (Timing(decode=0.0), "decode;dur=0.000"),
        (Timing(decode=0.0123456), "decode;dur=12.346"),
        (Timing(decode=0.5, trace=Trace(queued=2.0)), "decode;dur=500.000, queue;dur=2000.000"),
        (
            Timing(trace=Trace(0.0, [Run(17, 32, "full", 0.25)]), encode=0.001),
            'queue;dur=0.000, run;dur=250.000, encode;dur=1.000, batch;desc="17/32 full"',
        ),
        (  # split over two batches
            Timing(trace=Trace(0.0, [Run(8, 8, "full", 0.25), Run(3, 8, "idle", 0.125)])),
            'queue;dur=0.000, run;dur=375.000, batch;desc="8/8 full", batch;desc="3/8 idle"',
        ),
        (  # failed, and run again alone
            Timing(trace=Trace(0.0, [Run(4, 8, "drain", 0.5), Run(1, 2, "retry", 0.25)])),
            'queue;dur=0.000, run;dur=750.000, batch;desc="4/8 drain", batch;desc="1/2 retry"',
        ),
        (  # given up while it ran
            Timing(trace=Trace(0.0, [Run(4, 8, "deadline", None)])),
            'queue;dur=0.000, run;dur=0.000, batch;desc="4/8 deadline"',
        ),
    ],
    ids=["none", "zero", "decoded", "queued", "run", "split", "retried", "given up"],
)
def test_times_are_milliseconds_and_a_batch_is_named_for_each_ride(
    timing: Timing, header: str | None
) -> None:
    """What was not timed has no entry."""
    assert server_timing(timing) == ({} if header is None else {"Server-Timing": header})


def test_a_request_that_rode_in_very_many_batches_lists_the_first() -> None:
    """And tells their number: clients and proxies refuse a head that is too long."""
    runs = [Run(rows=4, cap=4, reason="full", seconds=0.5) for _ in range(5000)]
    header = server_timing(Timing(trace=Trace(0.0, runs)))["Server-Timing"]
    assert header.count('batch;desc="4/4 full"') == 16
    assert header.startswith("queue;dur=0.000, run;dur=2500000.000, batch;")
    assert header.endswith(', batches;desc="5000"')
