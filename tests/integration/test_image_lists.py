"""Several photos in one request, answered by the default model."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import orjson
import pytest
from twisted.internet.threads import deferToThread

from server.settings.table import Settings
from tests.integration.clients import (
    Answer,
    form,
    get,
    open_socket,
    post,
    post_all,
    request_bytes,
)
from tests.integration.photos import KNOWN, jpeg, mixed
from tests.integration.servers import Server, wait_for
from tests.integration.watched import in_reactor, watched_server

pytestmark = pytest.mark.full

#: Largest difference of the scores of an image alone and in a batch.
SAME = 1e-4

CUT = jpeg("coffee.png")[:-1000]


def entries(answer: Answer) -> list[object]:
    """Return the entries of an answer to several images."""
    assert answer.status == 200, answer.body
    content = orjson.loads(answer.body)
    assert isinstance(content, list)
    return content


def test_each_photo_has_its_own_answer(server: Server) -> None:
    """The labels and scores that it has alone; a broken photo has its error, in its place."""
    photos = mixed(20)
    alone = {name: post(server.port, jpeg(name)).labels for name in KNOWN}
    files = [file for _, file in photos]
    body, headers = form(*files[:7], CUT, *files[7:])
    answer = post(server.port, body, headers=headers)
    labels = entries(answer)
    error = labels.pop(7)
    assert isinstance(error, dict)
    assert (error["status"], "the JPEG image is cut short" in error["error"]) == (400, True)
    for (name, _), found in zip(photos, labels, strict=True):
        assert isinstance(found, list)
        (label, score), (expected, expected_score) = found[0], alone[name][0]
        assert (len(found), label) == (5, expected)
        assert score == pytest.approx(expected_score, abs=SAME)
    assert answer.headers["x-model-version"] == "efficientnet-lite0/1"
    assert sum(batch.rows for batch in answer.batches) >= min(len(photos), 16)


def test_photos_are_answered_beside_other_requests(server: Server) -> None:
    """Both kinds of requests have their own answers."""
    photos = mixed(48)
    (first, headers), (second, _) = (form(*[jpeg(name) for name in list(KNOWN)[:2]]) for _ in "ab")
    assert first == second
    with ThreadPoolExecutor(1) as thread:
        others = thread.submit(post_all, server.port, [file for _, file in photos], 8)
        several = [post(server.port, first, headers=headers) for _ in range(6)]
        for (name, _), answer in zip(photos, others.result(), strict=True):
            assert answer.best in KNOWN[name]
    for answer in several:
        best = [entry[0][0] for entry in entries(answer) if isinstance(entry, list)]
        assert all(it in KNOWN[name] for it, name in zip(best, list(KNOWN)[:2], strict=True))


@in_reactor
async def test_photos_share_a_batch_with_another_request(cache_home: Path) -> None:
    """With a delay of 30 s, two photos wait for the one that fills the batch."""
    first, second, third = list(KNOWN)[:3]
    body, headers = form(jpeg(first), jpeg(second))
    settings = Settings(port=0, max_batch_size=3, max_queue_delay=30.0)
    async with watched_server(settings, cache_home) as watched:
        waiting = deferToThread(post, watched.port, body, headers=headers)
        single = await deferToThread(post, watched.port, jpeg(third))
        several = await waiting
        assert watched.runner.batches == [3]
    assert single.best in KNOWN[third]
    best = [entry[0][0] for entry in entries(several) if isinstance(entry, list)]
    assert best[0] in KNOWN[first]
    assert best[1] in KNOWN[second]
    for answer in (several, single):
        assert [(batch.rows, batch.reason) for batch in answer.batches] == [(3, "full")]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the request is one with curl")
def test_curl_sends_several_files(server: Server, tmp_path: Path) -> None:
    """By an option -F for each."""
    options = []
    for name in KNOWN:
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(name))
        options += ["-F", f"data=@{tmp_path / name}.jpg"]
    url = f"http://127.0.0.1:{server.port}/?k=1"
    ran = subprocess.run(["curl", "-sS", *options, url], capture_output=True, check=True)
    found = orjson.loads(ran.stdout)
    assert all(best[0][0] in KNOWN[name] for name, best in zip(KNOWN, found, strict=True))


def test_a_hang_up_leaves_nothing_behind(server: Server) -> None:
    """No image waits afterwards, and the next request is answered at once."""
    body, headers = form(*[jpeg("coffee.png")] * 100)
    with open_socket(server.port) as raw:
        raw.sendall(request_bytes(body, headers=headers))
        wait_for(lambda: _unfinished(server) > 0, "images that wait")
    began = monotonic()
    assert post(server.port, jpeg("coffee.png")).best == "espresso"
    assert monotonic() - began < 5
    wait_for(lambda: _unfinished(server) == 0, "no image that waits")


def _unfinished(server: Server) -> int:
    """Return the number of images that wait to be decoded, are decoded, or wait in a queue."""
    report = orjson.loads(get(server.port, "/debug/batcher").body)
    return int(report["waiting"] + report["decoding"]["pending"])
