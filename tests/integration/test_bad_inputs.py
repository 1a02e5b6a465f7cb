"""Answers to inputs that are no images, and to the requests beside them."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE, Popen, run
from threading import Event

import orjson
import pytest

from tests.integration.bad_inputs import BAD, HUGE
from tests.integration.clients import post_all
from tests.integration.photos import KNOWN, mixed
from tests.integration.servers import MemoryWatch, Server, wait_for

pytestmark = pytest.mark.full


def test_bad_inputs_are_refused_without_effect_on_others(server: Server) -> None:
    """Each within 2 s, with a reason, in less than 150 MB; 31 other clients get right answers."""
    photos = mixed(124)
    files = [file for _, file in photos]
    under_way = Event()
    with MemoryWatch(server.pid) as memory, ThreadPoolExecutor(1) as thread:
        others = thread.submit(post_all, server.port, files, 31, on_start=under_way.set)
        assert under_way.wait(30)
        refused = {kind: bad.send(server.port) for kind, bad in BAD.items()}
        answers = others.result()
    last = max(answer.ended for answer in answers)
    for kind, answer in refused.items():
        assert answer.began < last, f"{kind} did not run at the same time"
        assert answer.status == BAD[kind].status
        assert BAD[kind].reason in answer.error
        assert answer.seconds < 2
    assert memory.growth < 150e6
    for (name, _), answer in zip(photos, answers, strict=True):
        assert answer.best in KNOWN[name]


def test_the_memory_watch_measures_a_process() -> None:
    """So the check above can fail: here 200 MB are allocated and freed."""
    program = "import sys; print(flush=True); input(); held = b'x' * 200_000_000; input()"
    with Popen([sys.executable, "-c", program], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        with MemoryWatch(process.pid) as memory:
            print(file=process.stdin, flush=True)
            wait_for(lambda: memory.growth > 150e6, "200 MB")
        print(file=process.stdin, flush=True)


@pytest.mark.parametrize("upload", [["--data-binary"], ["-H", "Expect:", "--data-binary"], ["-T"]])
def test_curl_shows_why_a_body_is_too_long(
    server: Server, tmp_path: Path, upload: list[str]
) -> None:
    """A client that is still sending reads the answer, and sees no reset."""
    file = tmp_path / "huge.bin"
    with file.open("wb") as sparse:
        sparse.truncate(HUGE)
    name = str(file) if upload == ["-T"] else f"@{file}"
    command = ["curl", "-sS", "-X", "POST", *upload, name, f"http://127.0.0.1:{server.port}/"]
    result = run(command, capture_output=True, check=True, timeout=60)
    assert orjson.loads(result.stdout)["status"] == 413
