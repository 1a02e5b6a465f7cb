"""Every end of a request for inference is counted once: server/api/preflight.py and its callers."""

import json
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from twisted.internet.defer import CancelledError

from batcher.errors import (
    DeadlineExceeded,
    OutOfMemory,
    Overloaded,
    QueueFull,
    RunFailed,
    RunHung,
    ShuttingDown,
)
from batcher.trace import Run, Trace
from model.errors import ModelError, RowsRefused
from model.images.errors import TooManyPixels
from server.api.request_end import end_of
from server.call import Timing
from server.http.error_statuses import HTTPError
from server.inference import Inference
from server.models import ModelNotReady, UnknownModel, Versions
from server.request_counts import ANSWERED, End
from server.settings.table import Settings
from tests.fakes.http import Client, chunk, head, request
from tests.fakes.server import SIZE, Log
from tests.fakes.service import ServiceHarness
from tests.hostile_bodies import FORM, form
from tests.images import coloured, encoded

pytestmark = pytest.mark.usefixtures("surroundings")

IMAGE = encoded(coloured(8, 8), "PNG")
PIXELS = np.zeros((1, SIZE, SIZE, 3), np.uint8).tolist()
POST = request(body=IMAGE)
HEAD = head(f"Content-Length: {len(IMAGE)}")
ROWS = json.dumps({"instances": PIXELS}).encode()
V2_INPUT = {"name": "image", "shape": [1, SIZE, SIZE, 3], "datatype": "UINT8", "data": PIXELS}
V2 = json.dumps({"inputs": [V2_INPUT]}).encode()


class Server(ServiceHarness):
    """A server of one model, and the client that a case looks at."""

    client: Client
    others = 0  #: requests of other clients, which are answered

    def send(self, *pieces: bytes) -> None:
        """Send *pieces* on the connection of the client."""
        self.client.send(*pieces)

    def occupy(self) -> None:
        """Let the only lane run a request of another client."""
        self.connect().send(POST)
        self.others += 1
        self.turn(model=False)

    @property
    def inference(self) -> Inference:
        """The version that takes requests."""
        return self.service.models.find()


Steps = Callable[[Server], object]


def post(target: str, body: bytes, **headers: str) -> Steps:
    """Return the step that sends a request, which the server answers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda server: server.send(request("POST", target, body, named))


def images(*files: bytes) -> bytes:
    """Return a form with *files* in one field."""
    return form(
        *(('Content-Disposition: form-data; name="data"; filename="a"', file) for file in files)
    )


def posted(*options: str, then: Steps = lambda _: None) -> Steps:
    """Return the steps that send an image with *options* in the head, followed by *then*."""

    def steps(server: Server) -> None:
        server.send(head(*options, f"Content-Length: {len(IMAGE)}") + IMAGE)
        then(server)

    return steps


def part(then: Steps, *options: str) -> Steps:
    """Return the steps that send a head and a part of the body, followed by *then*."""

    def steps(server: Server) -> None:
        server.send(head(*options, f"Content-Length: {len(IMAGE)}"), IMAGE[:20])
        then(server)

    return steps


def behind(steps: Steps) -> Steps:
    """Return *steps* after another request that is under way on the only lane."""

    def both(server: Server) -> None:
        server.occupy()
        steps(server)

    return both


def running(then: Steps, after: Steps = lambda _: None) -> Steps:
    """Return the steps *after*, to decode what was sent, and *then*; the model does not run."""

    def steps(server: Server) -> None:
        after(server)
        server.turn(model=False)
        then(server)

    return steps


def hang_up(server: Server) -> None:
    """Close the client's connection."""
    server.client.hang_up()


def later(server: Server) -> None:
    """Let a quarter of a second pass in which the model does not run."""
    server.reactor.advance(0.25)


def finish_body(server: Server) -> None:
    """Send the rest of the body after a quarter of a second."""
    later(server)
    server.send(IMAGE[20:])


def fill_memory(server: Server) -> None:
    """Let other bodies need all memory, then send the rest of the body."""
    limits = server.service.connections.limits
    limits.held = limits.max_held
    server.send(IMAGE[20:])


def replace_version(server: Server) -> None:
    """Replace the version that has admitted the request, and send the rest of the body."""
    old = server.inference
    new = Inference(old.model, server.service.pool, clock=server.reactor)
    old.retire()
    server.service.models.route("pets", Versions({"8": new}, "8"))
    server.send(IMAGE[20:])


def remove_model(server: Server) -> None:
    """Retire the version that has admitted the request, and send the rest of the body."""
    server.inference.retire()
    server.service.models.route("pets", None)
    server.send(IMAGE[20:])


def answer(server: Server) -> None:
    """Let the model answer, and the client hang up afterwards."""
    server.turn()
    server.client.hang_up()


def chunked(*data: bytes) -> Steps:
    """Return the step that sends a chunked request to the model."""
    return lambda server: server.send(head("Transfer-Encoding: chunked"), *data)


def fail_run(server: Server) -> None:
    """Let the run of the image fail."""
    server.runner.errors = [ValueError("broken")]


def close_batcher(server: Server) -> None:
    """Send an image to a batcher that takes no more requests."""
    server.inference.model.batcher.drain()
    server.send(POST)


def hang(server: Server) -> None:
    """Let the run of the image hang, then send another image, which is refused."""
    server.turn(model=False)
    server.wait(8.0, model=False)
    server.send(POST)


def stop_and_finish(server: Server) -> None:
    """Begin to stop, then send the rest of the body."""
    server.service.stopService()
    server.send(IMAGE[20:])


def abort(server: Server) -> None:
    """Stop at once."""
    server.service.stopService()
    server.service.abort()


TOO_LARGE, INVALID, NOT_FOUND = "refused too_large", "failed invalid", "failed not_found"
TIMEOUT = "X-Request-Timeout-Ms: 125"

#: Steps; the statuses that the client reads; the ends that are counted, without those of others.
CASES: dict[str, tuple[Steps, list[int], list[str]]] = {
    "native": (post("/", IMAGE), [200], ["answered"]),
    "two requests on one connection": (
        lambda server: server.send(POST + POST), [200, 200], ["answered", "answered"],
    ),
    "named": (post("/models/pets/versions/7", IMAGE), [200], ["answered"]),
    "tfserving": (post("/v1/models/pets:predict", ROWS), [200], ["answered"]),
    "kserve": (post("/v2/models/pets/infer", V2), [200], ["answered"]),
    "escaped": (post("/models/p%65ts", IMAGE), [200], ["answered"]),
    "escaped tfserving": (post("/%761/models/pets:predict", ROWS), [200], ["answered"]),
    "escaped kserve": (post("/%762/models/pets/infer", V2), [200], ["answered"]),
    "escaped and wrong": (post("/models/p%65ts", b"nothing"), [400], [INVALID]),
    "images": (
        post("/", images(IMAGE, b""), Content_Type=FORM), [200], ["answered"],
    ),
    "wrong images": (
        post("/", images(IMAGE[:40], b""), Content_Type=FORM), [400], [INVALID],
    ),
    "answered, then hung up": (posted(then=answer), [200], ["answered"]),
    "answered by a newer version": (part(replace_version), [200], ["answered"]),
    "stopping with a body to come": (
        part(stop_and_finish), [200], ["answered"],
    ),
    "unknown model": (post("/models/dogs", IMAGE), [404], []),
    "unknown tfserving": (post("/v1/models/dogs:predict", ROWS), [404], []),
    "unknown and too large": (
        lambda server: server.send(head("Content-Length: 99999999", target="/models/dogs")),
        [413], [],
    ),
    "unknown version": (post("/models/pets/versions/77", IMAGE), [404], [NOT_FOUND]),
    "unknown label": (post("/models/pets/labels/old", IMAGE), [404], [NOT_FOUND]),
    "unknown version tfserving": (
        post("/v1/models/pets/versions/77:predict", ROWS), [404], [NOT_FOUND],
    ),
    "unknown version kserve": (post("/v2/models/pets/versions/77/infer", V2), [404], [NOT_FOUND]),
    "status": (lambda server: server.send(request("GET", "/v2/models/pets")), [200], []),
    "late": (behind(post("/", IMAGE, X_Request_Timeout_Ms="1")), [429], ["refused late"]),
    "memory full": (part(fill_memory), [429], ["refused full"]),
    "too long": (
        lambda server: server.send(head("Content-Length: 99999999")), [413], [TOO_LARGE],
    ),
    "too long tfserving": (
        lambda server: server.send(
            head("Content-Length: 99999999", target="/v1/models/pets:predict")
        ),
        [413], [TOO_LARGE],
    ),
    "too long in chunks": (chunked(chunk(bytes(3 << 20))), [413], [TOO_LARGE]),
    "slow": (part(lambda server: server.wait(8.0)), [408], ["refused timeout"]),
    "batcher closed": (close_batcher, [503], ["refused stopping"]),
    "wrong option": (posted("X-Request-Timeout-Ms: x"), [400], [INVALID]),
    "wrong chunk": (chunked(b"zz\r\n"), [400], [INVALID]),
    "wrong query": (post("/?k=%ff", IMAGE), [400], [INVALID]),
    "wrong parameter": (post("/?k=x", IMAGE), [400], [INVALID]),
    "wrong image": (post("/", b"nothing"), [400], [INVALID]),
    "wrong tfserving": (post("/v1/models/pets:predict", b"{"), [400], [INVALID]),
    "wrong kserve": (post("/v2/models/pets/infer", b"{}"), [400], [INVALID]),
    "model gone": (part(remove_model), [404], [NOT_FOUND]),
    "failed run": (posted(then=fail_run), [500], ["failed internal"]),
    "hung run": (posted(then=hang), [503, 503], ["failed hung", "refused hung"]),
    "expired in receive": (part(finish_body, TIMEOUT), [504], ["expired receive"]),
    "expired in decode": (posted(TIMEOUT, then=later), [504], ["expired decode"]),
    "expired in queue": (
        behind(posted(TIMEOUT, then=running(later))), [504], ["expired queue"],
    ),
    "expired in run": (posted(TIMEOUT, then=running(later)), [504], ["expired run"]),
    "cancelled in receive": (part(hang_up), [], ["cancelled receive"]),
    "cancelled in decode": (posted(then=hang_up), [], ["cancelled decode"]),
    "cancelled in queue": (behind(posted(then=running(hang_up))), [], ["cancelled queue"]),
    "images cancelled in queue": (
        behind(running(hang_up, after=post("/", images(IMAGE, IMAGE), Content_Type=FORM))),
        [], ["cancelled queue"],
    ),
    "cancelled in run": (posted(then=running(hang_up)), [], ["cancelled run"]),
    "aborted in receive": (part(abort), [], ["cancelled receive"]),
    "aborted in run": (posted(then=running(abort)), [503], ["failed stopping"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_end_of_a_request_is_counted_once(
    case: str, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """The counts add up at all times, and agree with what the clients have read."""
    steps, statuses, ends = CASES[case]
    settings = Settings(
        client_timeout=8.0, run_timeout=8.0, max_body_bytes=2 << 20, max_batch_size=1
    )
    server = Server(monkeypatch, settings)
    server.started()
    counts = server.service.models.requests["pets"]
    server.client = server.connect()
    steps(server)
    assert counts.in_progress + sum(counts.ended.values()) == counts.received
    server.wait(0.0)
    ends = ends + ["answered"] * server.others
    assert server.client.statuses == statuses
    assert Counter({" ".join(it).strip(): count for it, count in counts.ended.items()}) == Counter(
        ends
    )
    assert (counts.received, counts.in_progress) == (len(ends), 0)
    hang_up(server)
    assert counts.received == sum(counts.ended.values())
    log.flush_errors()


@pytest.mark.usefixtures("log")
def test_the_phases_of_answered_requests_are_observed(harness: ServiceHarness) -> None:
    """
    Once for each request, also for one of several images.

    A run takes 1/64 s; the second image is queued while that of the first one runs.
    """
    inference = harness.started().service.models.find()
    client = harness.connect()
    client.send(HEAD)
    harness.reactor.advance(1.0)
    client.send(IMAGE)
    harness.turn()
    files = images(IMAGE, IMAGE)
    client.send(request(body=files, headers={"Content-Type": FORM}), request(body=b"nothing"))
    harness.turn()
    assert client.statuses == [200, 200, 400]
    phases = inference.phases.read()
    assert {name: (sum(it.counts), it.sum) for name, it in phases.items()} == {
        "decode": (2, 0.0),
        "queue": (2, 1 / 64),
        "run": (2, 3 / 64),
        "encode": (2, 0.0),
        "whole": (2, 1 + 3 / 64),
    }


REFUSED = Timing(rows=1)
WAITED = Timing(rows=1, trace=Trace(0.5))
RAN = Timing(rows=1, trace=Trace(0.5, [Run(1, 4, "full")]))
ENCODES = Timing(rows=1, trace=Trace(0.5, [Run(1, 4, "full", 0.5)]), finishing=True)


@pytest.mark.parametrize(
    ("error", "timing", "end"),
    [
        (CancelledError(), None, ("cancelled", "receive")),
        (CancelledError(), Timing(), ("cancelled", "decode")),
        (CancelledError(), REFUSED, ("cancelled", "queue")),
        (CancelledError(), RAN, ("cancelled", "run")),
        (CancelledError(), ENCODES, ("cancelled", "encode")),
        (DeadlineExceeded(1.0, "submit"), None, ("expired", "receive")),
        (DeadlineExceeded(1.0, "queue"), Timing(), ("expired", "decode")),
        (DeadlineExceeded(1.0, "queue"), WAITED, ("expired", "queue")),
        (DeadlineExceeded(1.0, "answer"), RAN, ("expired", "run")),
        (Overloaded(2.0, 1.0), None, ("refused", "late")),
        (QueueFull(2, 3, 4), REFUSED, ("refused", "full")),
        (ShuttingDown(), REFUSED, ("refused", "stopping")),
        (ShuttingDown(), WAITED, ("failed", "stopping")),
        (RunHung(1.0), None, ("refused", "hung")),
        (RunHung(1.0), RAN, ("failed", "hung")),
        (RunFailed(OutOfMemory(1)), RAN, ("failed", "internal")),
        (RunFailed(RowsRefused("no such word")), RAN, ("failed", "invalid")),
        (TooManyPixels(30000, 30000, 1000), Timing(), ("refused", "too_large")),
        (UnknownModel("no model"), None, ("failed", "not_found")),
        (ModelError("broken"), RAN, ("failed", "internal")),
        (ValueError("a mistake of ours"), RAN, ("failed", "internal")),
        (HTTPError(408, "slow"), None, ("refused", "timeout")),
        (HTTPError(404, "no model"), None, ("failed", "not_found")),
        (HTTPError(415, "no image"), None, ("failed", "invalid")),
        (HTTPError(500, "a mistake of ours"), None, ("failed", "internal")),
    ],
)
def test_the_end_of_a_request_follows_from_its_error(
    error: Exception, timing: Timing | None, end: End
) -> None:
    """And from the stage that it has reached."""
    assert end_of(error, timing) == end


def test_the_counts_of_a_model_outlive_its_versions(harness: ServiceHarness) -> None:
    """Until its last request has ended, or as long as a version of it is awaited."""
    models = harness.started().service.models
    counts, inference = models.requests["pets"], models.find()
    assert inference.requests is counts
    last = counts.receive()
    models.route("pets", None)
    models.await_models({})
    assert models.requests == {"pets": counts}
    last.end(ANSWERED)
    models.await_models({"pets": "loading"})
    assert models.requests == {"pets": counts}
    with pytest.raises(ModelNotReady) as caught:
        models.find("pets")
    assert caught.value.requests is counts
    with pytest.raises(UnknownModel) as unknown:
        models.find("dogs")
    assert unknown.value.requests is None
    models.await_models({})
    assert models.requests == {}
    models.route("pets", Versions({"7": inference}, "7"))
    assert inference.requests is models.requests["pets"] is not counts
