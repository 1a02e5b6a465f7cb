"""A graph that takes one JPEG file, as written by retraining, served over HTTP."""

import re
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tests.images import claims, encoded
from tests.integration import scalar_graphs as made
from tests.integration.clients import Answer, form, get, mean_rows, post, post_all
from tests.integration.graphs import SCORES
from tests.integration.photos import KNOWN, jpeg, mixed, photo
from tests.integration.servers import Server, run_program, serving

# Its program, its conversion and its start take long; the properties of such graphs have quick
# tests in test_batched_graph.py, test_loading.py and test_image_models.py.
pytestmark = pytest.mark.full

#: A graph and its labels.
Files = tuple[Path, Path]

#: Returns the scores of each JPEG file, the best first.
Scores = Callable[[Sequence[bytes]], list[np.ndarray]]


@pytest.fixture(scope="module")
def scalar(cache_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The default model, as written by its program."""
    folder = tmp_path_factory.mktemp("scalar")
    command = [sys.executable, "-P", "-m", "benchmarks.scalar_graph", str(folder)]
    result = run_program(command, cache_home=cache_home, folder=folder)
    assert result.returncode == 0, result.stderr
    return folder / "output_graph.pb", folder / "output_labels.txt"


@pytest.fixture(scope="module")
def served(
    scalar: Files, cache_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server of that graph; on one lane, 16 clients must share runs on any machine."""
    options = (
        *named(*scalar),
        *("--lanes", "1", "--max-batch-size", "8"),
        *("--max-queue-delay-ms", "0", "--max-pixels", "1000000"),
    )
    with serving(*options, cache_home=cache_home, folder=tmp_path_factory.mktemp("log")) as ready:
        yield ready


def named(graph: Path, labels: Path) -> tuple[str, ...]:
    """Return the options of a command line for these files."""
    return "--graph", str(graph), "--labels", str(labels)


def original(graph: Path) -> Scores:
    """Return a function that runs the unchanged graph, one file at a time."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as whole:
        tf.import_graph_def(tf.GraphDef.FromString(graph.read_bytes()), name="")

    def scores(files: Sequence[bytes]) -> list[np.ndarray]:
        fed = f"{made.CONTENTS}:0"
        with tf.Session(graph=whole) as session:
            rows = [session.run(f"{SCORES}:0", {fed: file}) for file in files]
        return [np.sort(row, axis=None)[::-1] for row in rows]

    return scores


def check_scores(answers: Sequence[Answer], expected: Sequence[np.ndarray]) -> None:
    """Check the scores of each answer, which may be fewer than expected."""
    for answer, scores in zip(answers, expected, strict=True):
        found = [score for _, score in answer.labels]
        np.testing.assert_allclose(found, scores[: len(found)], 0, 1e-5)


def status_of(server: Server) -> Any:
    """Return the answer to `GET /status`."""
    return orjson.loads(get(server.port, "/status").body)


def test_the_log_and_the_status_of_a_graph_that_was_cut(served: Server) -> None:
    """The log has the place and the largest difference once; the status has both signatures."""
    cut = (
        r"the graph is cut at (\S+):0, \[224, 224, 3\]: decoding runs for each image, the rest "
        r"in batches; largest difference from running one row at a time: (\S+)$"
    )
    ((tensor, difference),) = re.findall(cut, served.log, re.MULTILINE)
    assert float(difference) <= 1e-5
    status = status_of(served)
    files, rows = (status["signatures"][f"serving_default{kind}"] for kind in ("", ":rows"))
    assert files["inputs"] == [{"name": "DecodeJpeg/contents", "dtype": "string", "shape": [None]}]
    assert rows["inputs"] == [{"name": tensor, "dtype": "uint8", "shape": [None, 224, 224, 3]}]
    for signature in (files, rows):
        assert signature["batched"]
        assert "alone" not in signature
        assert signature["max_batch_size"] == 8
    assert status["images"] == {
        "signature": "serving_default",
        "how": "decoded by the model itself",
    }


def test_images_in_json_have_the_name_of_the_input_of_files(served: Server, scalar: Files) -> None:
    """Each image of a request is a row; one bad file fails the whole request."""
    files = [jpeg(name) for name in KNOWN]
    encoded = [{"b64": b64encode(file).decode()} for file in files]
    answer = post(served.port, orjson.dumps({"inputs": {"DecodeJpeg/contents": encoded}}))
    scores = np.array(orjson.loads(answer.body)["outputs"]["final_result"])
    best = np.sort(scores, axis=1)[:, ::-1]
    np.testing.assert_allclose(best, original(scalar[0])(files), 0, 1e-5)
    assert sum(batch.rows for batch in answer.batches) == len(files)
    encoded[1] = {"b64": b64encode(b"hello").decode()}
    refused = post(served.port, orjson.dumps({"inputs": {"DecodeJpeg/contents": encoded}}))
    assert refused.status == 400
    sample = status_of(served)["signatures"]["serving_default"]["sample"]
    assert post(served.port, sample.encode()).status == 200


def test_sixteen_clients_share_batches_and_get_the_scores_of_single_runs(
    served: Server, scalar: Files
) -> None:
    """64 photos share batches; each answer is right, and that of the unchanged graph."""
    photos = mixed(64)
    answers = post_all(served.port, [file for _, file in photos], 16)
    for (name, _), answer in zip(photos, answers, strict=True):
        assert answer.best in KNOWN[name]
    assert mean_rows(answers) > 1
    files = [jpeg(name) for name in KNOWN]
    known = original(scalar[0])(files)
    check_scores(answers, known * (64 // len(KNOWN)))
    whole = [post(served.port, file, path="/?k=1000") for file in files]
    assert {len(answer.labels) for answer in whole} == {1000}
    check_scores(whole, known)


def test_broken_files_do_not_affect_their_batch(served: Server, scalar: Files) -> None:
    """Every fourth cannot be decoded: it gets a 400, the others their scores."""
    whole = jpeg("coffee.png")
    answers = post_all(served.port, [whole, whole, whole, without_pixels(whole)] * 16, 16)
    assert [answer.status for answer in answers[3::4]] == [400] * 16
    good = [answer for answer in answers if answer.status == 200]
    assert len(good) == 48
    assert mean_rows(good) > 1
    check_scores(good, original(scalar[0])([whole]) * 48)


def without_pixels(file: bytes) -> bytes:
    """Return a JPEG file with a valid start and end, and only tables in between."""
    return file[: file.index(b"\xff\xda")] + b"\xff\xd9"


UNDECODED = "the model cannot decode the image: "

#: Bodies, the status of the answer, and part of its message.
REFUSED = {
    "text": (b"hello\n", 400, "is not a JPEG, PNG, GIF, BMP or WebP image"),
    "cut short": (jpeg("rocket.jpg")[:9000], 400, "the JPEG image is cut short"),
    "broken": (without_pixels(jpeg("rocket.jpg")), 400, "end marker, before the pixels"),
    "another format": (encoded(photo("coffee.png"), "WEBP"), 400, UNDECODED),
    "too large": (
        claims("JPEG", 1001, 1000),
        413,
        "1001 x 1000 is 1001000 pixels, over the limit of 1000000",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_graph_cannot_take_is_refused_with_the_reason(served: Server, kind: str) -> None:
    """As a bare body and in a form."""
    body, status, reason = REFUSED[kind]
    in_form, headers = form(body)
    for answer in (post(served.port, body), post(served.port, in_form, headers=headers)):
        assert answer.status == status
        assert reason in answer.error
