"""How requests share runs, seen from outside and from beside the Session."""

from functools import partial
from pathlib import Path

from twisted.internet.threads import deferToThread

from server.settings import Settings
from tests.integration.clients import mean_rows, open_socket, post, post_all, request_bytes
from tests.integration.photos import KNOWN, jpeg, mixed, small_jpeg
from tests.integration.servers import Server
from tests.integration.watched import in_reactor, watched_server


def mean_rows_of_64(server: Server) -> float:
    """
    Post 64 photos over 32 connections; return the mean rows of a batch.

    Small photos, so that the model sets the pace and not the decoding.
    """
    names = ["chelsea.png", "coffee.png", "coffee.png", "motorcycle_left.png"] * 16
    answers = post_all(server.port, [small_jpeg(name) for name in names], 32)
    for name, answer in zip(names, answers, strict=True):
        assert answer.best in KNOWN[name]
    return mean_rows(answers)


def test_requests_share_batches_with_nothing_to_tune(server: Server) -> None:
    """Of 64 requests over 32 connections two and more ride together, and all are right."""
    assert mean_rows_of_64(server) >= 2


def test_requests_share_large_batches_where_they_may_wait(big_batches: Server) -> None:
    """Up to 32 rows and 50 ms: eight and more ride together."""
    assert mean_rows_of_64(big_batches) >= 8


@in_reactor
async def test_a_batch_is_one_run_of_the_session(cache_home: Path) -> None:
    """With all the time to wait, 64 requests are two runs of 32; a later one is a third."""
    settings = Settings(port=0, max_batch_size=32, max_queue_delay=30.0)
    photos = mixed(64)
    async with watched_server(settings, cache_home) as watched:
        bodies = [file for _, file in photos]
        answers = await deferToThread(post_all, watched.port, bodies, 64)
        assert watched.runner.batches == [32, 32]
    for (name, _), answer in zip(photos, answers, strict=True):
        assert answer.best in KNOWN[name]
        assert [(ride.rows, ride.cap, ride.reason) for ride in answer.rides] == [(32, 32, "full")]


@in_reactor
async def test_clients_that_hang_up_while_queued_cost_no_run(cache_home: Path) -> None:
    """While both lanes are held, 32 clients queue and go: their rows are never run."""
    settings = Settings(port=0, lanes=2, max_batch_size=4)
    request = request_bytes(jpeg("coffee.png"))
    async with watched_server(settings, cache_home) as watched:
        watched.runner.gate.clear()
        staying = [deferToThread(partial(post, watched.port, jpeg("rocket.jpg"))) for _ in range(2)]
        await watched.until(lambda: watched.stats.running == 2, "two runs that are held")
        leaving = [open_socket(watched.port) for _ in range(32)]
        for raw in leaving:
            raw.sendall(request)
        await watched.until(lambda: watched.stats.waiting == 32, "32 rows in the queue")
        for raw in leaving:
            raw.close()
        await watched.until(lambda: watched.stats.totals.cancelled == 32, "32 hang-ups")
        assert watched.stats.waiting == 0
        watched.runner.gate.set()
        for answer in staying:
            assert (await answer).best == "missile"
        assert (await deferToThread(post, watched.port, jpeg("coffee.png"))).best == "espresso"
        assert watched.runner.batches == [1, 1, 1]
