"""Options of requests, and requests that fail beside others, with TensorFlow."""

import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from twisted.internet.threads import deferToThread

from batcher.learning.latency import LatencyCurve
from server.settings.table import Settings
from tests.integration.clients import Answer, get, open_socket, post, receive_answer, request_bytes
from tests.integration.saved_models import SavedModelAt
from tests.integration.tensors import assert_outputs, request_body
from tests.integration.watched import WatchedServer, in_reactor, watched_server

VALUES = (1.5, 2.5, 3.5)  #: of the keys that the model knows; any other is an error
BAD = len(VALUES)


@dataclass(frozen=True)
class SentRequest:
    """A request on its own connection, whose answer has not been read."""

    raw: socket.socket
    keys: tuple[int, ...]

    async def answer(self) -> Answer:
        """Read the answer."""
        try:
            return await deferToThread(receive_answer, self.raw, 0.0)
        finally:
            self.raw.close()

    async def is_right(self) -> bool:
        """Read the answer and check its outputs; return False for a status other than 200."""
        answer = await self.answer()
        if answer.status == 200:
            values = np.array([[VALUES[key]] for key in self.keys], np.float32)
            assert_outputs(answer.body, {"value": values})
        return answer.status == 200


def send(watched: WatchedServer, *keys: int, **headers: str) -> SentRequest:
    """Send a request with a row for each key; an underscore in a header name is a hyphen."""
    raw = open_socket(watched.port)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raw.sendall(request_bytes(request_body(list(keys)), headers=named))
    return SentRequest(raw, keys)


Serve = Callable[..., AbstractAsyncContextManager[WatchedServer]]


@pytest.fixture
def lookup_server(tmp_path: Path, saved_model: SavedModelAt) -> Serve:
    """Return a function that serves a model that looks up keys, on one lane, with any settings."""
    settings = Settings(port=0, model=saved_model("int64 lookup"), lanes=1)
    return lambda **given: watched_server(replace(settings, **given), tmp_path)


async def hold(watched: WatchedServer, key: int = 0, **headers: str) -> SentRequest:
    """Start a run that does not end before the gate is opened."""
    watched.runner.gate.clear()
    sent = send(watched, key, **headers)
    await watched.until(lambda: watched.stats.running == 1, "a run that is held")
    return sent


async def queue(watched: WatchedServer, *keys: int, **headers: str) -> SentRequest:
    """Send a request and return once it is in the queue."""
    before = watched.stats.waiting
    sent = send(watched, *keys, **headers)
    await watched.until(lambda: watched.stats.waiting == before + len(keys), "a longer queue")
    return sent


@in_reactor
async def test_one_bad_row_among_32_does_not_affect_the_others(lookup_server: Serve) -> None:
    """The batch is halved until the bad row is alone: in 11 runs, none of them in vain."""
    async with lookup_server(max_batch_size=32) as watched:
        held = await hold(watched)
        keys = [BAD if number == 20 else number % len(VALUES) for number in range(32)]
        sent = [await queue(watched, key) for key in keys]
        watched.runner.gate.set()
        assert await held.is_right()
        bad = await sent[20].answer()
        assert [await each.is_right() for each in sent if each.keys != (BAD,)].count(True) == 31
        assert watched.runner.batches == [1, 32, 16, 16, 8, 4, 4, 2, 1, 1, 2, 8]
    assert bad.status == 400
    assert bad.error == "the model does not take these values: indices[0] = 3 is not in [0, 3)"


@in_reactor
async def test_a_request_that_expires_in_the_queue_is_not_run(lookup_server: Serve) -> None:
    """It is answered in time, while a run is held; only the rows of the others are run."""
    async with lookup_server(max_batch_size=8) as watched:
        held = await hold(watched)
        patient = await queue(watched, 0, 1)
        hurried = await send(watched, 0, 1, 2, X_Request_Timeout_Ms="250").answer()
        late = await queue(watched, 2)
        assert watched.runner.batches == [1]
        watched.runner.gate.set()
        assert [await each.is_right() for each in (held, patient, late)] == [True] * 3
        assert watched.runner.batches == [1, 3]
        assert hurried.status in (429, 504)
        assert watched.totals.expired == (3 if hurried.status == 504 else 0)
    assert hurried.batches == []


@in_reactor
async def test_a_request_that_would_be_late_is_refused_before_its_body(
    lookup_server: Serve,
) -> None:
    """While another one runs, with Retry-After; one with a longer timeout is answered."""
    async with lookup_server(max_batch_size=8) as watched:
        for queue in watched.service.models.find().model.queues.known.values():
            queue.latency = LatencyCurve({1: 2.0, 8: 2.0})
        held = await hold(watched)
        body = request_body([2])
        for timeout, status in ((2_000, 429), (60_000, 200)):
            request = request_bytes(body, headers={"X-Request-Timeout-Ms": str(timeout)})
            raw = open_socket(watched.port)
            raw.sendall(request[: -len(body)])
            if status == 200:
                raw.sendall(body)
                watched.runner.gate.set()
            answer = await SentRequest(raw, (2,)).answer()
            assert answer.status == status, answer.body
            if status == 429:
                assert answer.error.startswith("too busy: an answer is expected in 4.")
                assert 2 <= int(answer.headers["retry-after"]) <= 4
        assert await held.is_right()
        assert watched.runner.batches == [1, 1]


@in_reactor
async def test_priorities_decide_the_order_of_runs(lookup_server: Serve) -> None:
    """Whatever the order of arrival."""
    async with lookup_server(max_batch_size=1) as watched:
        held = await hold(watched, 1, X_Request_Priority="low")
        low = await queue(watched, 0, X_Request_Priority="low")
        normal = await queue(watched, 1)
        high = await queue(watched, 2, X_Request_Priority="HIGH")
        watched.runner.gate.set()
        assert [await each.is_right() for each in (held, low, normal, high)] == [True] * 4
        assert watched.runner.firsts == [1, 2, 1, 0]


@in_reactor
async def test_no_request_waits_for_a_run_that_hangs(lookup_server: Serve) -> None:
    """Its request, waiting and new ones get a 503; after its end the server works again."""
    async with lookup_server(max_batch_size=8, run_timeout=0.5) as watched:
        waiting = [await hold(watched), await queue(watched, 1), await queue(watched, 2)]
        answers = [await each.answer() for each in waiting]
        answers.append(await deferToThread(post, watched.port, request_body([1])))
        for answer in answers:
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.error == "a run of the model has not ended within 0.5 s"
        for path in ("/healthz", "/readyz"):
            assert (await deferToThread(get, watched.port, path)).status == 503
        watched.runner.gate.set()
        await watched.until(lambda: watched.stats.hung == 0, "the end of the run")
        for path in ("/healthz", "/readyz"):
            assert (await deferToThread(get, watched.port, path)).status == 200
        assert await send(watched, 2, 1).is_right()
        assert watched.runner.batches == [1, 2]
