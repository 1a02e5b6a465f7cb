"""`python -m benchmarks.peer` over a socket: its own answers, and those of the server."""

import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
import orjson
import pytest
from PIL import Image

from tests.images import coloured, encoded
from tests.integration.clients import Answer, get, mean_rows, post, post_all
from tests.integration.graphs import Graphs
from tests.integration.servers import serving, started

pytestmark = pytest.mark.full

PEER = (sys.executable, "-P", "-m", "benchmarks.peer")
SIDE, CLASSES = 8, 7
JPEG = encoded(coloured(50, 37), "JPEG")
WEIGHTS = np.random.default_rng(3).normal(size=(3, CLASSES)).astype(np.float32)
ONE_LANE = {"TENSORFERRY_LANES": "1"}


@pytest.fixture(scope="module")
def null(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the null model."""
    folder = tmp_path_factory.mktemp("null")
    with serving(cache_home=folder, folder=folder, command=PEER) as server:
        yield server.port


# --- the null model


@pytest.mark.parametrize("size", [0, 1, 1024, 1 << 20])
def test_the_null_model_answers_the_length(null: int, size: int) -> None:
    """Of any body, an empty one included, with Server-Timing."""
    answer = post(null, b"\0" * size)
    assert (answer.status, orjson.loads(answer.body)) == (200, {"n": size})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-model-version"] == "null/1"
    assert answer.headers["server-timing"].startswith("decode;dur=")
    assert [batch.rows for batch in answer.batches] == [1]


def test_each_of_many_clients_gets_its_own_length(null: int) -> None:
    """Though their rows run together."""
    answers = post_all(null, [b"x" * size for size in range(800)], 16)
    assert [orjson.loads(answer.body)["n"] for answer in answers] == list(range(800))
    assert mean_rows(answers) > 1


def test_refusals_are_those_of_the_server(null: int) -> None:
    """With its status and its message."""
    wrong = post(null, b"x", headers={"X-Request-Timeout-Ms": "0"})
    assert (wrong.status, "X-Request-Timeout-Ms" in wrong.error) == (400, True)
    late = post(null, b"x", headers={"X-Request-Timeout-Ms": "0.000001"})
    assert late.status == 504
    assert get(null, "/none").status == 404
    assert get(null, "/readyz").status == 200


# --- a net


def images_to_scores(tf: ModuleType) -> None:
    """Make a graph that weighs the mean of each colour for each class."""
    images = tf.placeholder(tf.float32, (None, SIDE, SIDE, 3), name="images")
    tf.matmul(tf.reduce_mean(images, axis=[1, 2]), tf.constant(WEIGHTS), name="scores")


def image() -> np.ndarray:
    """Return `JPEG` as the other servers decode it."""
    image = Image.open(BytesIO(JPEG)).convert("RGB")
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32) / 127.5 - 1


def is_best(answer: Answer) -> bool:
    """Whether *answer* has the five best classes of `JPEG`, in order, and their scores."""
    assert answer.status == 200, answer.body
    content = orjson.loads(answer.body)
    scores = image().mean(axis=(0, 1)) @ WEIGHTS
    best = np.argsort(-scores)[:5]
    np.testing.assert_allclose(content["scores"], scores[best], rtol=1e-4)
    return bool(content["classes"] == best.tolist())


def test_a_net_answers_images_and_numbers(tmp_path: Path) -> None:
    """Both give the same answer; errors are those of the server."""
    graph = Graphs(tmp_path).write(images_to_scores)
    variables = {"PEER_MODEL": "net", "PEER_GRAPH": str(graph), "PEER_PORT": "0", **ONE_LANE}
    with started(cache_home=tmp_path, folder=tmp_path, command=PEER, variables=variables) as server:
        early = post(server.port, JPEG)
        assert (early.status, early.headers["retry-after"]) == (503, "1")
        server.wait_until_ready()
        port = server.port
        assert is_best(post(port, JPEG, headers={"Content-Type": "image/jpeg"}))
        assert is_best(post(port, JPEG))
        numbers = {"Content-Type": "application/octet-stream"}
        assert is_best(post(port, image().tobytes(), headers=numbers))
        assert all(map(is_best, post_all(port, [JPEG, image().tobytes()] * 40, 8)))
        assert "is not a JPEG" in post(port, image().tobytes()[:-4]).error
        assert post(port, b"").status == 400
        assert post(port, b"hello", headers={"Content-Type": "text/plain"}).status == 415
