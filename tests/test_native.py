"""The native dialect, `POST /` with an image: server/api/native.py."""

from dataclasses import dataclass, field

import numpy as np
import orjson
import pytest
from twisted.internet.defer import CancelledError
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
from model.images.errors import NotAnImage, TooManyPixels
from server.api.inference_api import InferenceAPI, server_timing
from server.api.native import NATIVE, encode_labels, label_count
from server.api.preflight import Admitted
from server.call import Outputs, RequestOptions, Timing
from server.http.error_statuses import HTTPError
from server.http.messages import Head, HTTPRequest, HTTPResponse
from server.inference import Inference
from server.models import ModelNotReady
from tests.fakes.http import http_request
from tests.fakes.server import FakeInference, Log, scored
from tests.fakes.threads import kinds, outcomes

IMAGE = b"\x89PNG\r\n\x1a\n--not a boundary\r\n\0\xff"


pytestmark = pytest.mark.usefixtures("log")


@dataclass
class EndpointFixture:
    """The endpoint of the native dialect with a `FakeInference`."""

    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        """Build the endpoint."""
        self.inference = FakeInference(self.clock)
        self.api = InferenceAPI(lambda _: self.inference, NATIVE, seconds=self.clock.seconds)

    def answered(self, request: HTTPRequest, answer: Outputs | Exception) -> HTTPResponse:
        """Return the response to *request* if the inference returns or raises *answer*."""
        fired = outcomes(self.api.predict(request))
        assert fired == []
        deferred = self.inference.calls[-1].answer
        if isinstance(answer, Outputs):
            deferred.callback(answer)
        else:
            deferred.errback(answer)
        return the_response(fired)


def the_response(fired: list[object]) -> HTTPResponse:
    """Return the only result."""
    (response,) = fired
    assert isinstance(response, HTTPResponse)
    return response


def refused(response: HTTPResponse) -> str:
    """Return the message of a refusal."""
    content = orjson.loads(response.body)
    assert content["status"] == response.status
    assert content["request_id"] == "the-id"
    return str(content["error"])


# --- answers


def test_an_answer_is_pairs_of_label_and_score() -> None:
    """The best first; each score in the fewest digits that still give the same float32."""
    scores = scored(1 / 3, 0.1, 1e-7)
    response = EndpointFixture().answered(http_request(IMAGE, query={"k": ("3",)}), scores)
    assert response.status == 200
    assert response.content_type == "application/json"
    assert response.body == b'[["cat",0.33333334],["dog",0.1],["eel",1e-7]]\n'
    for score, (_, sent) in zip(scores.arrays[0][0], orjson.loads(response.body), strict=True):
        assert np.float32(sent) == score


def test_labels_are_written_unchanged() -> None:
    """In UTF-8, escaped only as JSON requires."""
    body = encode_labels([('café "au lait"\n', np.float32(1.0))])
    assert orjson.loads(body) == [['café "au lait"\n', 1.0]]
    assert "café".encode() in body


def test_an_answer_names_its_model_and_its_times() -> None:
    """Those recorded by the inference, and the time to write the answer."""
    fixture = EndpointFixture()
    fired = outcomes(fixture.api.predict(http_request(IMAGE)))
    call = fixture.inference.calls[0]
    call.timing.decode = 0.0015
    call.timing.trace.queued = 0.25
    call.timing.trace.runs.append(Run(rows=3, cap=8, reason="idle", seconds=0.5))
    call.answer.callback(scored(1.0, 0.0, 0.0))
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
def test_an_error_names_the_model_and_the_times_too(
    error: Exception, status: int, log: Log
) -> None:
    """A client, and a load test, can see which stages the request has reached."""
    fixture = EndpointFixture()
    fired = outcomes(fixture.api.predict(http_request(IMAGE)))
    fixture.inference.calls[0].timing.decode = 0.002
    fixture.inference.calls[0].answer.errback(error)
    if isinstance(error, CancelledError):
        assert kinds(fired) == [CancelledError]  # the front end checks for a hang-up
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


def test_a_request_that_is_refused_at_once_names_the_model() -> None:
    """No stage was reached, so there is no Server-Timing."""
    fixture = EndpointFixture()
    response = the_response(outcomes(fixture.api.predict(http_request(b""))))
    assert response.status == 400
    assert dict(response.headers) == {"X-Model-Version": "pets/7"}
    assert fixture.inference.calls == []


def test_without_a_model_a_request_is_refused() -> None:
    """In the form of the dialect."""

    def none(_: Head) -> Inference:
        raise ModelNotReady("loading")

    api = InferenceAPI(none, NATIVE, seconds=Clock().seconds)
    response = the_response(outcomes(api.predict(http_request(IMAGE))))
    assert (response.status, refused(response)) == (503, "loading")
    assert response.headers == {"Retry-After": "1"}


def head(**headers: str) -> Head:
    """Return the head of a request; an underscore in a name is a dash."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head("POST", "/", "", fields, "the-id", 0.0, object())


def test_an_admitted_head_is_judged_again_with_its_body() -> None:
    """Other requests may have arrived in between; the options are those of the head."""
    fixture = EndpointFixture()
    options = fixture.api.preflight(head(x_request_timeout_ms="500"))
    fixture.inference.admission.refusal = Overloaded(2.5, 0.5)
    request = http_request(IMAGE, preflighted=options)
    response = the_response(outcomes(fixture.api.predict(request)))
    assert (response.status, response.headers["Retry-After"]) == (429, "2")
    assert [options.timeout for options in fixture.inference.admission.admitted] == [0.5, 0.5]
    assert fixture.inference.calls == []


def test_a_request_without_a_preflight_is_judged_with_its_body() -> None:
    """Its options are read then."""
    fixture = EndpointFixture()
    fixture.api.predict(http_request(IMAGE, headers={"x-request-timeout-ms": "500"}))
    assert [options.timeout for options in fixture.inference.admission.admitted] == [0.5]


def test_a_request_whose_body_came_with_its_head_is_not_judged_again() -> None:
    """Nothing has arrived in between."""
    fixture = EndpointFixture()
    admitted = fixture.api.preflight(head())
    assert isinstance(admitted, Admitted)
    fixture.inference.admission.admitted.clear()
    fixture.inference.admission.refusal = Overloaded(2.5, 0.5)
    fixture.api.predict(http_request(IMAGE, admitted=True, preflighted=admitted))
    assert fixture.inference.admission.admitted == []
    assert [each.call.options for each in fixture.inference.calls] == [admitted.options]


@pytest.mark.parametrize(("headers", "since"), [({}, 8.0), ({"x_request_timeout_ms": "500"}, 0.0)])
def test_a_default_timeout_starts_when_the_body_has_arrived(
    headers: dict[str, str], since: float
) -> None:
    """A timeout of the client starts with the head."""
    fixture = EndpointFixture()
    options = fixture.api.preflight(head(**headers))
    fixture.clock.advance(8.0)
    fixture.api.predict(http_request(IMAGE, preflighted=options))
    assert [options.since for options in fixture.inference.admission.admitted] == [0.0, since]
    assert [each.call.options.since for each in fixture.inference.calls] == [since]


@pytest.mark.parametrize(
    ("error", "status"),
    [(Overloaded(2.5, 0.5), 429), (DeadlineExceeded(0.0, "submit"), 504), (RunHung(9.0), 503)],
)
def test_a_head_is_refused_as_a_request_would_be(error: Exception, status: int) -> None:
    """And its answer names the model."""
    fixture = EndpointFixture()
    fixture.inference.admission.refusal = error
    response = fixture.api.preflight(head())
    assert isinstance(response, HTTPResponse)
    assert (response.status, refused(response)) == (status, str(error))
    assert response.headers["X-Model-Version"] == "pets/7"


@pytest.mark.parametrize(
    "headers", [{"x_request_timeout_ms": "soon"}, {"x_request_priority": "urgent"}]
)
def test_a_head_with_an_invalid_option_is_refused(headers: dict[str, str]) -> None:
    """Before admission is asked."""
    fixture = EndpointFixture()
    response = fixture.api.preflight(head(**headers))
    assert isinstance(response, HTTPResponse)
    assert response.status == 400
    assert "expected" in refused(response)
    assert fixture.inference.admission.admitted == []


def test_a_preflight_that_fails_is_an_answer_too(log: Log) -> None:
    """A 500, which is logged."""
    fixture = EndpointFixture()
    fixture.inference.admission.refusal = ZeroDivisionError("secret")
    response = fixture.api.preflight(head())
    assert isinstance(response, HTTPResponse)
    assert response.status == 500
    assert len(log.flush(ZeroDivisionError)) == 1


def test_without_a_model_a_request_is_refused_by_its_head() -> None:
    """Its body would be read in vain."""

    def none(_: Head) -> Inference:
        raise ModelNotReady("loading")

    api = InferenceAPI(none, NATIVE, seconds=Clock().seconds)
    response = api.preflight(head())
    assert isinstance(response, HTTPResponse)
    assert (response.status, refused(response)) == (503, "loading")
    assert response.headers == {"Retry-After": "1"}


def test_a_cancelled_answer_cancels_the_work() -> None:
    """No client waits for it any more."""
    fixture = EndpointFixture()
    answer = fixture.api.predict(http_request(IMAGE))
    fired = outcomes(answer)
    assert fixture.inference.cancelled == 0
    answer.cancel()
    assert fixture.inference.cancelled == 1
    assert kinds(fired) == [CancelledError]


# --- parameters and options


@pytest.mark.parametrize(
    ("values", "k"),
    [(None, 5), (("1",), 1), (("7",), 7), (("1000",), 1000), (("007",), 7)],
)
def test_k_is_the_number_of_labels(values: tuple[str, ...] | None, k: int) -> None:
    """Without it, the default holds."""
    assert label_count({} if values is None else {"k": values}, 5, 1000) == k


def test_the_default_is_at_most_the_number_of_classes() -> None:
    """A model of two classes has no five labels."""
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
def test_an_invalid_k_is_refused(values: tuple[str, ...]) -> None:
    """With the values that are accepted."""
    with pytest.raises(HTTPError, match=r"^k: expected .*1 to 7, got ") as caught:
        label_count({"k": values}, 5, 7)
    assert caught.value.status == 400


@pytest.mark.parametrize("query", [{"K": ("1",)}, {"top": ("1",)}, {"k": ("1",), "x": ("",)}])
def test_an_unknown_parameter_is_refused(query: dict[str, tuple[str, ...]]) -> None:
    """A misspelt one would otherwise be ignored without notice."""
    with pytest.raises(HTTPError, match=r"unknown query parameter '(K|top|x)': there is only 'k'"):
        label_count(query, 5, 7)


def test_the_options_of_a_request_reach_the_inference() -> None:
    """A timeout counts from when the head was received."""
    fixture = EndpointFixture()
    fixture.api.predict(http_request(IMAGE)).addErrback(lambda _: None)
    fixture.api.predict(
        http_request(
            IMAGE, query={"k": ("3",)}, received=64.0, headers={"x-request-timeout-ms": "500"}
        )
    )
    first, second = fixture.inference.calls
    assert first.call.options.timeout is None
    assert second.call.options == RequestOptions(
        since=64.0, timeout=0.5, source=second.call.options.source
    )
    answers = [call.call.finish(scored(0.5, 0.25, 0.125)) for call in (first, second)]
    assert [len(orjson.loads(answer)) for answer in answers] == [2, 3]


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
def test_times_are_milliseconds_and_each_batch_has_an_entry(
    timing: Timing, header: str | None
) -> None:
    """A stage that was not timed has none."""
    assert server_timing(timing) == ({} if header is None else {"Server-Timing": header})


def test_a_request_in_very_many_batches_lists_the_first() -> None:
    """And their number: clients and proxies refuse a head that is too long."""
    runs = [Run(rows=4, cap=4, reason="full", seconds=0.5) for _ in range(5000)]
    header = server_timing(Timing(trace=Trace(0.0, runs)))["Server-Timing"]
    assert header.count('batch;desc="4/4 full"') == 16
    assert header.startswith("queue;dur=0.000, run;dur=2500000.000, batch;")
    assert header.endswith(', batches;desc="5000"')
