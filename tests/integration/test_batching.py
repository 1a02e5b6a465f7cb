"""How requests share runs, observed by clients and beside the Session."""

from pathlib import Path

import numpy as np
import pytest
from twisted.internet.threads import deferToThread

from server.settings.table import Settings
from tests.integration.clients import mean_rows, open_socket, post, post_all, request_bytes
from tests.integration.photos import KNOWN, mixed
from tests.integration.saved_models import SavedModelAt
from tests.integration.servers import Server
from tests.integration.tensors import assert_outputs, request_body
from tests.integration.watched import in_reactor, watched_server


@pytest.mark.full
def test_many_connections_are_answered_with_nothing_to_tune(server: Server) -> None:
    """All 64 requests over 32 connections; the policy decides how many share a batch."""
    photos = mixed(64)
    answers = post_all(server.port, [file for _, file in photos], 32)
    for (name, _), answer in zip(photos, answers, strict=True):
        assert answer.best in KNOWN[name]
    assert mean_rows(answers) >= 1


@pytest.mark.full
@in_reactor
async def test_a_batch_is_one_run_of_the_session(cache_home: Path) -> None:
    """With a delay of 30 s, 64 requests are two runs of 32 rows."""
    settings = Settings(port=0, max_batch_size=32, max_queue_delay=30.0)
    photos = mixed(64)
    async with watched_server(settings, cache_home) as watched:
        bodies = [file for _, file in photos]
        answers = await deferToThread(post_all, watched.port, bodies, 64)
        assert watched.runner.batches == [32, 32]
    for (name, _), answer in zip(photos, answers, strict=True):
        assert answer.best in KNOWN[name]
        assert [(batch.rows, batch.cap, batch.reason) for batch in answer.batches] == [
            (32, 32, "full")
        ]


@pytest.mark.full
@in_reactor
async def test_clients_that_hang_up_while_queued_cost_no_run(
    tmp_path: Path, saved_model: SavedModelAt
) -> None:
    """While both lanes are held, 32 clients queue and hang up: their rows are never run."""
    settings = Settings(port=0, model=saved_model("int64 lookup"), lanes=2, max_batch_size=4)
    body = request_body([1])
    async with watched_server(settings, tmp_path) as watched:
        watched.runner.gate.clear()
        staying = [deferToThread(post, watched.port, body) for _ in range(2)]
        await watched.until(lambda: watched.stats.running == 2, "two runs that are held")
        leaving = [open_socket(watched.port) for _ in range(32)]
        for raw in leaving:
            raw.sendall(request_bytes(body))
        await watched.until(lambda: watched.stats.waiting == 32, "32 rows in the queue")
        for raw in leaving:
            raw.close()
        await watched.until(lambda: watched.totals.cancelled == 32, "32 hang-ups")
        assert watched.stats.waiting == 0
        watched.runner.gate.set()
        for answer in (*staying, deferToThread(post, watched.port, body)):
            assert_outputs((await answer).body, {"value": np.array([[2.5]], np.float32)})
        assert watched.runner.batches == [1, 1, 1]


@pytest.mark.full
@in_reactor
async def test_rows_of_two_shapes_never_share_a_run(
    tmp_path: Path, saved_model: SavedModelAt
) -> None:
    """Each row waits for others of its shape."""
    settings = Settings(port=0, model=saved_model("any second axis"), lanes=1, max_batch_size=8)
    rows = [[1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0], [8.0, 9.0, 10.0], [11.0, 12.0]]
    async with watched_server(settings, tmp_path) as watched:
        with watched.runner.held():
            held = deferToThread(post, watched.port, request_body([[0.0]]))
            await watched.until(lambda: watched.stats.running == 1, "a run that is held")
            answers = []
            for row in rows:
                answers.append(deferToThread(post, watched.port, request_body([row])))
                await watched.until(lambda: watched.stats.waiting == len(answers), "a longer queue")
        assert_outputs((await held).body, {"sum": np.zeros(1, np.float32)})
        for row, answer in zip(rows, answers, strict=True):
            assert_outputs((await answer).body, {"sum": np.array([sum(row)], np.float32)})
        assert watched.runner.batches == [1, 3, 2]
