"""Several images in one request, over the wire: server/api/image_list.py, server/inference.py."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from batcher.learning.latency import LatencyCurve
from batcher.policy import FixedPolicy
from batcher.priority import Priority
from batcher.queue import Queue
from model.execution.decode_pool import DecodePool
from server.api.inference_api import InferenceAPI
from server.api.native import NATIVE
from server.deadlines import NO_DEFAULT_TIMEOUT, DefaultTimeout
from server.http.messages import Route
from server.inference import Inference
from tests.fakes.http import Client, request
from tests.fakes.server import LABELS, Log, ManualLane, images, served_model
from tests.fakes.threads import Calls, ManualThreads, outcomes
from tests.fakes.wire import WireServer
from tests.images import claims, coloured, encoded

pytestmark = pytest.mark.usefixtures("log")

IMAGE = encoded(coloured(16, 16), "PNG")
BROKEN, LARGE = IMAGE[:40], claims("PNG", 30_000, 30_000)
CUT = {"error": "the PNG image is cut short: it ends after 40 bytes", "status": 400}
NOTHING = {
    "error": "nothing at all (0 bytes) is not a JPEG, PNG, GIF, BMP or WebP image",
    "status": 400,
}
PIXELS = {"error": "30000 x 30000 is 900000000 pixels, over the limit of 1000", "status": 413}
#: Scores of three images, and their two best labels.
SCORES = ([1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.25, 0.5, 1.0])
CAT, DOG, EEL = (
    [["cat", 1.0], ["eel", 0.5]],
    [["dog", 1.0], ["eel", 0.5]],
    [["eel", 1.0], ["dog", 0.5]],
)
#: 20 seconds for a row: five runs of four rows, of four seconds each.
LEARNED = DefaultTimeout(None, [Queue(LatencyCurve({4: 4.0}), 4, 64)])


def form(files: Sequence[bytes], name: str = "data") -> bytes:
    """Return a form with each of *files* in the field *name*."""
    head = f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'.encode()
    return b"".join(head + file + b"\r\n" for file in files) + b"--edge--\r\n"


class Fixture:
    """
    A server of images in batches of up to four rows; the test steps its decode thread and lane.

    To decode an image takes *decoding* seconds of the clock.
    """

    def __init__(
        self,
        *,
        default: DefaultTimeout = NO_DEFAULT_TIMEOUT,
        labels: tuple[str, ...] = LABELS,
        decoding: float = 0.0,
        max_queued_rows: int = 8,
    ) -> None:
        self.lane, self.threads, self.calls = ManualLane(), ManualThreads(), Calls()
        self.server = WireServer(
            more=(
                Route(
                    "POST",
                    "/images",
                    lambda it: self.api.predict(it),
                    operations=(),
                    preflight=lambda it: self.api.preflight(it),
                ),
            )
        )
        self.server.limits.max_body = self.server.limits.max_held = 1 << 20
        self.clock = self.server.clock

        def array_of(data: bytes) -> np.ndarray:
            self.clock.advance(decoding)
            return images().array_of(data)

        model = served_model(
            self.clock,
            self.lane,
            policy=FixedPolicy(4, 0.0),
            labels=labels,
            max_queued_rows=max_queued_rows,
        )
        self.model = replace(model, image_input=replace(images(), array_of=array_of))
        pool = DecodePool(self.calls, 1, pool=self.threads, clock=self.clock.seconds)
        pool.start()
        self.inference = Inference(self.model, pool, clock=self.clock, default_timeout=default)
        self.api = InferenceAPI(lambda _: self.inference, NATIVE, seconds=self.clock.seconds)

    def send(
        self, *files: bytes, query: str = "", headers: Mapping[str, str] | None = None
    ) -> Client:
        """Send *files*, each in the same field of a form; return the client."""
        kind = {"Content-Type": "multipart/form-data; boundary=edge"}
        client = self.server.connect()
        client.send(request("POST", f"/images{query}", form(files), {**kind, **(headers or {})}))
        return client

    def decode(self, count: int = 1000) -> None:
        """Decode up to *count* images."""
        while self.threads.queue and count:
            count -= 1
            self.threads.step()
            self.calls.drain()

    @property
    def running(self) -> int:
        """The number of rows of the batch that runs."""
        return len(self.lane.batches[-1])


# --- answers


def test_each_image_is_answered_in_the_order_of_the_request() -> None:
    """An entry is what the image alone would have; the images share a batch with others."""
    fixture = Fixture()
    alone = fixture.send(IMAGE)
    several = fixture.send(IMAGE, BROKEN, IMAGE)
    another = fixture.send(IMAGE)
    fixture.decode()
    fixture.lane.finish(SCORES[0])
    assert (alone.answer.status, alone.answer.json()) == (200, CAT)
    assert fixture.running == 3
    fixture.clock.advance(0.5)
    fixture.lane.finish(SCORES[1], SCORES[0], SCORES[2])  # the other request had the second turn
    assert (several.answer.status, several.answer.json()) == (200, [DOG, CUT, EEL])
    assert (another.answer.status, another.answer.json()) == (200, CAT)
    assert several.answer.headers["content-type"] == "application/json"
    assert several.answer.headers["x-model-version"] == "pets/7"
    assert several.answer.headers["server-timing"] == (
        "decode;dur=0.000, queue;dur=0.000, run;dur=500.000, encode;dur=0.000, "
        'batch;desc="3/4 fixed"'
    )
    assert several.is_open()


def test_the_answer_has_the_labels_that_the_query_asks_for() -> None:
    """Of each image."""
    fixture = Fixture()
    client = fixture.send(IMAGE, IMAGE, query="?k=1")
    fixture.decode()
    fixture.lane.finish(SCORES[0])
    fixture.lane.finish(SCORES[1])
    assert client.answer.json() == [CAT[:1], DOG[:1]]


def test_a_model_without_labels_answers_with_the_outputs_of_each_image() -> None:
    """In the form of a single image."""
    fixture = Fixture(labels=())
    client = fixture.send(IMAGE, IMAGE)
    fixture.decode()
    fixture.lane.finish(SCORES[0])
    fixture.lane.finish(SCORES[1])
    assert client.answer.json() == [{"outputs": {"scores": [row]}} for row in SCORES[:2]]


@pytest.mark.parametrize(
    ("files", "status", "entries"),
    [
        ((BROKEN, b""), 400, [CUT, NOTHING]),
        ((BROKEN, LARGE, b""), 413, [CUT, PIXELS, NOTHING]),
    ],
)
def test_without_any_answer_the_status_is_the_largest_of_the_entries(
    files: tuple[bytes, ...], status: int, entries: list[object]
) -> None:
    """The body is the same list."""
    fixture = Fixture()
    client = fixture.send(*files)
    fixture.decode()
    assert (client.answer.status, client.answer.json()) == (status, entries)
    assert client.answer.headers["x-model-version"] == "pets/7"
    assert fixture.lane.batches == []


def test_a_failed_run_is_an_error_of_its_own_image(log: Log) -> None:
    """The batch is halved until the row runs alone; the log has the error."""
    fixture = Fixture()
    first = fixture.send(IMAGE)
    several = fixture.send(IMAGE, IMAGE)
    fixture.decode()
    fixture.lane.finish(SCORES[0])
    fixture.lane.fail(RuntimeError("a bad row"))
    fixture.lane.fail(RuntimeError("a bad row"))
    fixture.lane.finish(SCORES[1])
    assert first.answer.status == several.answer.status == 200
    error, best = several.answer.json()
    assert (error["status"], error["error"][:14], best) == (500, "the run failed", DOG)
    assert len(log.flush_errors()) == 1


# --- limits


def test_more_images_than_the_queue_can_hold_are_refused_as_a_whole() -> None:
    """Before any is decoded, with both numbers."""
    fixture = Fixture()
    client = fixture.send(*[IMAGE] * 9)
    assert (client.answer.status, client.answer.headers["retry-after"]) == (429, "1")
    assert client.answer.error == "9 rows exceed the limit of the queue, 8 rows"
    assert not fixture.threads.queue


def test_images_beyond_a_full_queue_are_refused_one_by_one() -> None:
    """Each is a row of its own: those that the queue can hold are answered."""
    fixture = Fixture()
    fixture.send(*[IMAGE] * 8)
    several = fixture.send(IMAGE, IMAGE)
    fixture.decode()
    for _ in range(2):
        fixture.lane.finish(*[SCORES[0]] * fixture.running)
    fixture.lane.finish(*[SCORES[1]] * fixture.running)
    full = "the queue is full: 1 more row exceeds the limit of 8; 8 are waiting"
    assert (several.answer.status, several.answer.json()) == (
        200,
        [DOG, {"error": full, "status": 429}],
    )


def test_the_images_of_one_request_do_not_delay_other_requests() -> None:
    """They take turns with them on the decode threads, which admission knows."""
    fixture = Fixture(decoding=1.0)
    fixture.send(IMAGE, *[BROKEN] * 7)
    fixture.decode(1)
    fixture.lane.finish(SCORES[0])
    fixture.decode(1)
    alone = fixture.send(IMAGE, headers={"X-Request-Timeout-Ms": "3500"})
    fixture.decode(2)
    fixture.lane.finish(SCORES[1])
    assert (alone.answer.status, alone.answer.json()) == (200, DOG)
    assert len(fixture.threads.queue) == 5


def test_an_image_that_would_be_late_is_refused_alone() -> None:
    """Each image after the first is admitted by itself, if the client has set a timeout."""
    fixture = Fixture(decoding=0.5)
    fixture.send(IMAGE)
    fixture.decode()
    several = fixture.send(IMAGE, IMAGE, IMAGE, headers={"X-Request-Timeout-Ms": "4000"})
    assert len(fixture.threads.queue) == 2
    fixture.decode()
    fixture.lane.finish(SCORES[0])
    fixture.lane.finish(SCORES[1], SCORES[2])
    dog, eel, refused = several.answer.json()
    assert (several.answer.status, dog, eel, refused["status"]) == (200, DOG, EEL, 429)
    assert refused["error"].startswith("too busy: an answer is expected in ")
    assert fixture.model.recorder.totals.refused == 1
    assert fixture.inference.statistics.fail.count == 1


def test_a_late_image_has_an_error_of_its_own() -> None:
    """The images that are in time are answered; nothing is answered twice."""
    fixture = Fixture(decoding=3.0)
    several = fixture.send(IMAGE, IMAGE, IMAGE, headers={"X-Request-Timeout-Ms": "4000"})
    fixture.decode(1)
    fixture.lane.finish(SCORES[0])
    fixture.decode()
    cat, *late = several.answer.json()
    assert (several.answer.status, cat) == (200, CAT)
    assert [(it["status"], it["error"][:20]) for it in late] == [(504, "the deadline passed ")] * 2
    assert fixture.model.recorder.totals.expired == 2


@pytest.mark.parametrize(
    ("default", "seconds", "status"),
    [
        (DefaultTimeout(2.0), 1.5, 200),
        (DefaultTimeout(2.0), 2.5, 504),
        (LEARNED, 23.0, 200),  # 20 seconds for one row, four more for the second batch
        (LEARNED, 25.0, 504),
        (DefaultTimeout(inf), 1e6, 200),
    ],
)
def test_the_default_timeout_allows_time_for_all_images(
    default: DefaultTimeout, seconds: float, status: int
) -> None:
    """To decode them takes 6 seconds and does not count; a learned one counts their batches."""
    fixture = Fixture(default=default, decoding=1.0)
    fixture.model.queues.learn(
        fixture.inference.model.samples["serving_default"], 4, {1: 1.0, 4: 4.0}
    )
    several = fixture.send(*[IMAGE] * 6)
    for _ in range(5):
        fixture.decode(1)
        fixture.lane.finish(SCORES[0])
    fixture.decode()
    fixture.clock.advance(seconds)
    fixture.lane.finish(SCORES[0])
    *others, last = several.answer.json()
    assert others == [CAT] * 5
    assert (200 if last == CAT else last["status"]) == status


def test_the_priority_of_the_request_is_that_of_each_image() -> None:
    """The images wait in the queue as rows of that priority."""
    fixture = Fixture()
    fixture.send(IMAGE)
    fixture.send(IMAGE, IMAGE, headers={"X-Request-Priority": "low"})
    fixture.decode()
    assert fixture.model.default_queue.by_level[Priority.LOW] == 2


# --- ends


@pytest.mark.parametrize("decoded", [0, 1, 2, 3])
def test_a_hang_up_withdraws_all_images(decoded: int) -> None:
    """Those that wait to be decoded, those that wait in the queue, and the one that runs."""
    fixture = Fixture()
    client = fixture.send(IMAGE, IMAGE, IMAGE)
    fixture.decode(decoded)
    client.hang_up()
    ended = outcomes(fixture.inference.retire())
    assert ended == [None]
    fixture.decode()
    assert fixture.model.recorder.totals.cancelled == 3
    assert (fixture.model.default_queue.rows, client.received) == (0, b"")
    if decoded:
        fixture.lane.finish(SCORES[0])
    assert len(fixture.lane.batches) == min(decoded, 1)


def test_a_stop_answers_the_images_that_wait() -> None:
    """Each entry says why; the images that were answered before keep their answers."""
    fixture = Fixture()
    client = fixture.send(IMAGE, IMAGE)
    fixture.decode(1)
    fixture.lane.finish(SCORES[0])
    fixture.decode()
    fixture.model.batcher.abort()
    stopped = {"error": "the batcher is shutting down", "status": 503}
    assert (client.answer.status, client.answer.json()) == (200, [CAT, stopped])


def test_a_retired_model_answers_all_images_first() -> None:
    """Also those that are not decoded yet."""
    fixture = Fixture()
    client = fixture.send(IMAGE, IMAGE)
    fixture.decode(1)
    ended = outcomes(fixture.inference.retire())
    fixture.lane.finish(SCORES[0])
    fixture.decode()
    assert ended == []
    fixture.lane.finish(SCORES[1])
    assert (client.answer.json(), ended) == ([CAT, DOG], [None])
