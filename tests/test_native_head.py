"""The options of a request, its admission, its times and its errors: server/api/."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
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
from batcher.priority import Priority
from batcher.trace import Run, Trace
from model.errors import ModelError, RowsRefused
from model.execution.decode_pool import PoolNotRunning
from model.images.errors import BadImage, NotAnImage, SideTooLong, TooManyPixels, TruncatedImage
from model.signature import FeedError
from server.api.dialect import Dialect
from server.api.inference_api import InferenceAPI, server_timing
from server.api.native import NATIVE, encode_labels, label_count
from server.api.preflight import Admitted
from server.api.request_options import priority_of, read_request_options, timeout_of
from server.call import RequestOptions, Timing
from server.http.connection_limits import TooMany
from server.http.error_statuses import NATIVE_STATUSES, HTTPError, Refusal, refusal_for
from server.http.limits import BodyTooLarge, TooManyBytesHeld
from server.http.messages import Head, HTTPResponse
from server.inference import Inference, TooManyStringBytes
from server.models import ModelNotReady, NotServed, UnknownModel
from server.workers.worker_reports import SupervisorSilent
from tests.fakes.http import http_request
from tests.fakes.server import FakeInference, scored
from tests.fakes.threads import kinds, outcomes

IMAGE = b"\x89PNG\r\n\x1a\n--not a boundary\r\n\0\xff"

pytestmark = pytest.mark.usefixtures("log")


@dataclass
class HeadFixture:
    """The endpoint of the native dialect with a `FakeInference`."""

    dialect: Dialect = NATIVE
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        """Build the endpoint."""
        self.inference = FakeInference(self.clock)
        self.admission = self.inference.admission
        self.api = InferenceAPI(lambda _: self.inference, self.dialect, seconds=self.clock.seconds)


def the_response(fired: list[object]) -> HTTPResponse:
    """Return the only result."""
    (response,) = fired
    assert isinstance(response, HTTPResponse)
    return response


def refused(response: object) -> tuple[int, str]:
    """Return the status and the message of a refusal in the native dialect."""
    assert isinstance(response, HTTPResponse)
    content = orjson.loads(response.body)
    assert response.body.endswith(b"\n")
    assert (content["status"], content["request_id"]) == (response.status, "the-id")
    return response.status, str(content["error"])


def head(**headers: str) -> Head:
    """Return the head of a request; an underscore in a name is a dash."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head("POST", "/", "", fields, "the-id", 0.0, object())


# --- errors

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
    (Overloaded(wait=2.5, allowed=1.0), 429, {"Retry-After": "2"}),
    (Overloaded(wait=90, allowed=0), 429, {"Retry-After": "90"}),
    (DeadlineExceeded(0.5, "queue"), 504, {}),
    (ShuttingDown(), 503, BUSY),
    (RunHung(30.0), 503, BUSY),
    (PoolNotRunning("stopped"), 503, BUSY),
    (RunFailed(ValueError("bad op")), 500, {}),
    (ResultCountMismatch(expected=2, got=1), 500, {}),
    (OutOfMemory(4), 500, {}),
    (ModelError("no such file"), 500, {}),
    (ModelNotReady("loading"), 503, BUSY),
    (SupervisorSilent("no answer"), 503, BUSY),
    (UnknownModel("no model"), 404, {}),
    (BodyTooLarge("101 bytes"), 413, {}),
    (TooManyBytesHeld("200 bytes"), 429, BUSY),
    (TooManyStringBytes(100, 50, 128), 429, BUSY),
    (TooMany("8 requests"), 503, BUSY),
    (HTTPError(415, "one\ntwo", {"Allow": "POST"}), 415, {"Allow": "POST"}),
    (HTTPError(502, "oh"), 502, {}),
    (HTTPError(503, "loading"), 503, {}),
    (RunFailed(RowsRefused("3 is not in [0, 3)")), 400, {}),
]


def write_other_error(
    error: BaseException | None, _request_id: str, headers: Mapping[str, str]
) -> HTTPResponse:
    """Return the answer for *error* in a dialect in which a busy server is unavailable."""
    refusal = refusal_for(error, {**NATIVE_STATUSES, ErrorKind.OVERLOADED: 503})
    body = orjson.dumps({"error": refusal.message})
    return HTTPResponse(refusal.status, body, {**refusal.headers, **headers})


@pytest.mark.parametrize(("error", "status", "headers"), FORESEEN, ids=lambda it: type(it).__name__)
def test_each_error_has_its_status_in_each_dialect(
    error: Exception, status: int, headers: dict[str, str]
) -> None:
    """By the head, at the admission of the body, or later; with the message, model and times."""
    other = HeadFixture(replace(NATIVE, write_error=write_other_error))
    other.admission.refusal = error
    answers = [other.api.preflight(head())]
    for stage in ("head", "body", "run"):
        fixture = HeadFixture()
        options = fixture.api.preflight(head())
        if stage != "run":
            fixture.admission.refusal = error
        if stage == "head":
            answers.append(fixture.api.preflight(head()))
            continue
        fired = outcomes(fixture.api.predict(http_request(IMAGE, preflighted=options)))
        for each in fixture.inference.calls:
            each.timing.decode = 0.002
            each.answer.errback(error)
        answers.append(the_response(fired))
    assert isinstance(answers[0], HTTPResponse)
    known = status == 429 and not isinstance(error, HTTPError)
    assert answers[0].status == (503 if known else status)
    assert orjson.loads(answers[0].body) == {"error": str(error)}
    assert [refused(answer) for answer in answers[1:]] == [(status, str(error))] * 3
    for answer, timing in zip(
        answers, [{}, {}, {}, {"Server-Timing": "decode;dur=2.000"}], strict=True
    ):
        assert isinstance(answer, HTTPResponse)
        assert answer.content_type == "application/json"
        assert dict(answer.headers) == {**headers, "X-Model-Version": "pets/7", **timing}
    faults = [fault.value for it in answers if isinstance(it, HTTPResponse) for fault in it.faults]
    assert faults == ([error] * 4 if status in (500, 502) else [])


def test_every_error_of_the_batcher_has_a_row() -> None:
    """A new error needs a row in the table above, and a new kind needs a status."""
    known = {type(error) for error, _, _ in FORESEEN}
    assert set(BatcherError.__subclasses__()) - {RefusalError} <= known
    assert set(RefusalError.__subclasses__()) <= known
    assert set(BadImage.__subclasses__()) <= known
    kinds = set(RequestError.__subclasses__())
    of_the_registry = {it for it in kinds if it.__module__.startswith("server.registry.")}
    assert kinds - of_the_registry <= known | {BatcherError, NotServed, RowsRefused}
    assert set(NotServed.__subclasses__()) <= known
    assert set(NATIVE_STATUSES) == set(ErrorKind)


def test_an_engines_error_shows_its_first_line_only() -> None:
    """The further lines contain the graph's stack and paths of this machine."""
    cause = ValueError("bad op\n\t [[node secret/path]]\n/home/me/model.py")
    shown = refusal_for(RunFailed(cause))
    assert shown == Refusal(500, "the run failed: ValueError: bad op")
    assert refusal_for(ModelError("one\ntwo")).message == "one"
    message = refusal_for(RunFailed(RowsRefused("no"))).message
    assert message == "the model does not take these values: no"


@pytest.mark.parametrize("error", [ValueError("secret"), ZeroDivisionError("secret")])
def test_an_unexpected_error_reveals_nothing(error: Exception) -> None:
    """It refers to the log, which has the request's id."""
    fixture = HeadFixture()
    fixture.admission.refusal = error
    message = "the server failed to answer; the server's log has the reason under this request id"
    refusal = fixture.api.preflight(head())
    assert refused(refusal) == (500, message)
    assert refusal_for(None).message == message
    assert isinstance(refusal, HTTPResponse)
    assert [fault.value for fault in refusal.faults] == [error]


def test_a_cancelled_answer_cancels_the_work() -> None:
    """No client waits for it any more; the front end checks for a hang-up."""
    fixture = HeadFixture()
    answer = fixture.api.predict(http_request(IMAGE))
    fired = outcomes(answer)
    assert fixture.inference.cancelled == 0
    answer.cancel()
    assert (fixture.inference.cancelled, kinds(fired)) == (1, [CancelledError])


def test_a_request_that_is_refused_at_once_names_the_model() -> None:
    """No stage was reached, so there is no Server-Timing."""
    fixture = HeadFixture()
    response = the_response(outcomes(fixture.api.predict(http_request(b""))))
    assert (response.status, dict(response.headers)) == (400, {"X-Model-Version": "pets/7"})
    assert fixture.inference.calls == []


def test_without_a_model_a_request_is_refused_by_its_head() -> None:
    """In the form of the dialect, or else with its body."""

    def none(_: Head) -> Inference:
        raise ModelNotReady("loading")

    api = InferenceAPI(none, NATIVE, seconds=Clock().seconds)
    for response in (
        api.preflight(head()),
        the_response(outcomes(api.predict(http_request(IMAGE)))),
    ):
        assert refused(response) == (503, "loading")
        assert isinstance(response, HTTPResponse)
        assert response.headers == {"Retry-After": "1"}


# --- admission


def test_an_admitted_head_is_judged_again_with_its_body() -> None:
    """Other requests may have arrived in between; the options are those of the head."""
    fixture = HeadFixture()
    options = fixture.api.preflight(head(x_request_timeout_ms="500"))
    fixture.admission.refusal = Overloaded(2.5, 0.5)
    request = http_request(IMAGE, preflighted=options)
    response = the_response(outcomes(fixture.api.predict(request)))
    assert (response.status, response.headers["Retry-After"]) == (429, "2")
    assert [options.timeout for options in fixture.admission.admitted] == [0.5, 0.5]
    assert fixture.inference.calls == []


def test_a_request_without_a_preflight_is_judged_with_its_body() -> None:
    """Its options are read then."""
    fixture = HeadFixture()
    fixture.api.predict(http_request(IMAGE, headers={"x-request-timeout-ms": "500"}))
    assert [options.timeout for options in fixture.admission.admitted] == [0.5]


def test_a_request_whose_body_came_with_its_head_is_not_judged_again() -> None:
    """Nothing has arrived in between."""
    fixture = HeadFixture()
    admitted = fixture.api.preflight(head())
    assert isinstance(admitted, Admitted)
    fixture.admission.admitted.clear()
    fixture.admission.refusal = Overloaded(2.5, 0.5)
    fixture.api.predict(http_request(IMAGE, admitted=True, preflighted=admitted))
    assert fixture.admission.admitted == []
    assert [each.call.options for each in fixture.inference.calls] == [admitted.options]


@pytest.mark.parametrize(("headers", "since"), [({}, 8.0), ({"x_request_timeout_ms": "500"}, 0.0)])
def test_a_default_timeout_starts_when_the_body_has_arrived(
    headers: dict[str, str], since: float
) -> None:
    """A timeout of the client starts with the head."""
    fixture = HeadFixture()
    options = fixture.api.preflight(head(**headers))
    fixture.clock.advance(8.0)
    fixture.api.predict(http_request(IMAGE, preflighted=options))
    assert [options.since for options in fixture.admission.admitted] == [0.0, since]
    assert [each.call.options.since for each in fixture.inference.calls] == [since]


# --- options

TIMEOUT, PRIORITY = "x-request-timeout-ms", "x-request-priority"
WRONG_TIMEOUTS = ["0", "-1", "-0.0", "", "soon", "5ms", "nan", "inf", "1e999", "86400001", "1, 2"]


@pytest.mark.parametrize(
    ("headers", "timeout", "priority"),
    [
        ({}, None, Priority.NORMAL),
        *(({TIMEOUT: text}, seconds, Priority.NORMAL) for text, seconds in (
            ("1", 0.001), ("250", 0.25), ("0.5", 0.0005), ("2000.", 2.0), ("86400000", 86_400.0),
            ("2e3", 2.0), ("1E-05", 1e-8), ("0.1000000000000000055511151231257827", 1e-4),
        )),
        *(({PRIORITY: text}, None, priority) for text, priority in (
            ("high", Priority.HIGH), ("NORMAL", Priority.NORMAL), ("Low", Priority.LOW),
        )),
    ],
)  # fmt: skip
def test_options_are_read_from_the_head(
    headers: dict[str, str], timeout: float | None, priority: Priority
) -> None:
    """Milliseconds, from when the head was received; the default timeout counts from now."""
    assert (timeout_of(headers), priority_of(headers)) == (timeout, priority)
    request = http_request(received=8.0, headers=headers)
    options = read_request_options(request, 12.0)
    since = 12.0 if timeout is None else 8.0
    assert options == RequestOptions(since, timeout, priority, request.connection)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        *((TIMEOUT, text, "X-Request-Timeout-Ms: expected milliseconds over 0 and at most 86400000")
          for text in (*WRONG_TIMEOUTS, "0x10", "1_000", "2e", "e3", ".5")),
        *((PRIORITY, text, "X-Request-Priority: expected high, normal or low")
          for text in ("", "0", "urgent", "high, low", "h\xefgh", "x" * 1000)),
    ],
)  # fmt: skip
def test_an_invalid_option_is_refused_by_the_head(name: str, text: str, message: str) -> None:
    """With the values that are accepted, in one short line, before admission is asked."""
    fixture = HeadFixture()
    found = refused(fixture.api.preflight(head(**{name: text})))
    assert found == (400, f"{message}, got {text[:40]!r}")
    assert fixture.admission.admitted == []


@pytest.mark.parametrize(
    ("query", "classes", "k"),
    [
        *(({}, classes, k) for classes, k in ((1000, 5), (2, 2))),
        *(({"k": (text,)}, 1000, int(text)) for text in ("1", "7", "1000", "007")),
    ],
)
def test_k_is_the_number_of_labels(query: dict[str, tuple[str, ...]], classes: int, k: int) -> None:
    """Without it, the default holds, but at most the number of classes."""
    assert label_count(query, 5, classes) == k


@pytest.mark.parametrize(
    ("query", "error"),
    [
        *(({"k": values}, "k: expected .*1 to 7, got ") for values in (
            *((text,) for text in ("0", "8", "-1", "+1", "1.0", "1e0", "", " 1", "one", "²", "٣")),
            *((text,) for text in ("9" * 10, "9" * 5000, "0x1", "1_0", "nan")),
            *(("1", "2"), ("1", "1")),
        )),
        *((query, "unknown query parameter '(K|top|x)': there is only 'k'") for query in (
            {"K": ("1",)}, {"top": ("1",)}, {"k": ("1",), "x": ("",)},
        )),
    ],
)  # fmt: skip
def test_any_other_parameter_is_refused(query: dict[str, tuple[str, ...]], error: str) -> None:
    """A misspelt one would otherwise be ignored without notice."""
    with pytest.raises(HTTPError, match=f"^{error}") as caught:
        label_count(query, 5, 7)
    assert caught.value.status == 400


def test_the_options_of_a_request_reach_the_inference() -> None:
    """And the answer has as many labels as were asked for, each score in the fewest digits."""
    fixture = HeadFixture()
    timeout = {"x-request-timeout-ms": "500"}
    request = http_request(IMAGE, query={"k": ("3",)}, received=64.0, headers=timeout)
    fired = outcomes(fixture.api.predict(request))
    (recorded,) = fixture.inference.calls
    source = request.connection
    assert recorded.call.options == RequestOptions(since=64.0, timeout=0.5, source=source)
    recorded.timing.decode = 0.0015
    recorded.timing.trace.queued = 0.25
    recorded.timing.trace.runs.append(Run(rows=3, cap=8, reason="idle", seconds=0.5))
    scores = scored(1 / 3, 0.1, 1e-7)
    recorded.answer.callback(scores)
    response = the_response(fired)
    assert (response.status, response.content_type) == (200, "application/json")
    assert response.body == b'[["cat",0.33333334],["dog",0.1],["eel",1e-7]]\n'
    for score, (_, sent) in zip(scores.arrays[0][0], orjson.loads(response.body), strict=True):
        assert np.float32(sent) == score
    assert dict(response.headers) == {
        "X-Model-Version": "pets/7",
        "Server-Timing": "decode;dur=1.500, queue;dur=250.000, run;dur=500.000, "
        'encode;dur=0.000, batch;desc="3/8 idle"',
    }


def test_labels_are_written_unchanged() -> None:
    """In UTF-8, escaped only as JSON requires; a score that is not a number is null."""
    body = encode_labels([('café "au lait"\n', np.float32(1.0)), ("cat", np.float32("nan"))])
    assert orjson.loads(body) == [['café "au lait"\n', 1.0], ["cat", None]]
    assert "café".encode() in body


# --- times


@pytest.mark.parametrize(
    ("timing", "header"),
    [
        (Timing(), None),
        (Timing(decode=0.0), "decode;dur=0.000"),
        (Timing(decode=0.0123456), "decode;dur=12.346"),
        (Timing(decode=0.5, trace=Trace(queued=2.0)), "decode;dur=500.000, queue;dur=2000.000"),
        (Timing(trace=Trace(0.0, [Run(17, 32, "full", 0.25)]), encode=0.001),
            'queue;dur=0.000, run;dur=250.000, encode;dur=1.000, batch;desc="17/32 full"'),
        (  # split over two batches
            Timing(trace=Trace(0.0, [Run(8, 8, "full", 0.25), Run(3, 8, "idle", 0.125)])),
            'queue;dur=0.000, run;dur=375.000, batch;desc="8/8 full", batch;desc="3/8 idle"',
        ),
        (  # given up while it ran
            Timing(trace=Trace(0.0, [Run(4, 8, "deadline", None)])),
            'queue;dur=0.000, batch;desc="4/8 deadline"',
        ),
    ],
    ids=["none", "zero", "decoded", "queued", "run", "split", "given up"],
)  # fmt: skip
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
