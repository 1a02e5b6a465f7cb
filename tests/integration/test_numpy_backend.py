"""A server with another engine, in a process that never imports TensorFlow."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from model.images.decode import decode_image
from model.images.preprocessing import Preprocessing, Resample
from tests.fakes.numpy_backend import LinearModel
from tests.images import coloured, encoded
from tests.integration.clients import form, get, post
from tests.integration.servers import Server, reasons, run_program, serving
from tests.integration.supervised import NUMPY_SERVER

pytestmark = pytest.mark.full

HEIGHT, WIDTH, LABELS = 4, 5, ("red", "green", "blue")
MEAN, SCALE = 100.0, 0.5
RANDOM = np.random.default_rng(5)
MODEL = LinearModel(
    RANDOM.normal(size=(HEIGHT, WIDTH, 3, len(LABELS))).astype(np.float32),
    RANDOM.normal(size=(2, 3)).astype(np.float32),
)
TOML = f"""
name = "colours"
version = 2
labels = "labels.txt"

[preprocessing]
mean = {MEAN}
scale = {SCALE}
"""

#: Largest difference of two ways to add up float32 numbers.
SAME = 1e-3


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The path of a linear model, with labels and facts beside it."""
    path = tmp_path / "model.npz"
    MODEL.save(path)
    (tmp_path / "model.toml").write_text(TOML)
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    return path


@pytest.fixture
def server(model: Path) -> Iterator[Server]:
    """A server of the linear model."""
    folder = model.parent
    options = ("--model", model.name)
    with serving(
        *options, cache_home=folder, folder=folder, command=NUMPY_SERVER, patience=30
    ) as ready:
        yield ready


def expected_labels(data: bytes) -> list[tuple[str, float]]:
    """Return the labels of the image *data* with their scores, the best first."""
    preprocessing = Preprocessing(HEIGHT, WIDTH, resample=Resample.BILINEAR)
    pixels = decode_image(data, preprocessing, max_pixels=10**6).astype(np.float64)
    scores = ((pixels - MEAN) * SCALE).reshape(-1) @ MODEL.pixels.reshape(-1, len(LABELS))
    return sorted(zip(LABELS, scores.tolist(), strict=True), key=lambda each: -each[1])


def test_another_engine_serves_images_and_numbers_without_tensorflow(server: Server) -> None:
    """Files, forms and JSON are answered, and after a drain the server ends with exit code 0."""
    for data in (encoded(coloured(WIDTH, HEIGHT), "PNG"), encoded(coloured(50, 37), "JPEG")):
        body, headers = form(data)
        for answer in (post(server.port, data), post(server.port, body, headers=headers)):
            expected = expected_labels(data)
            assert [label for label, _ in answer.labels] == [label for label, _ in expected]
            for (_, score), (_, wanted) in zip(answer.labels, expected, strict=True):
                assert score == pytest.approx(wanted, abs=SAME)
            assert len(answer.batches) == 1
    rows = [[1.0, 2.0], [0.5, -3.0]]
    request = {"signature_name": "numbers", "inputs": {"x": rows}}
    answer = post(server.port, orjson.dumps(request), headers={"Content-Type": "application/json"})
    assert answer.status == 200, answer.body
    got = orjson.loads(answer.body)["outputs"]["y"]
    np.testing.assert_allclose(got, np.array(rows) @ MODEL.numbers, atol=SAME)
    assert post(server.port, b"text").error.endswith("is not a JPEG, PNG, GIF, BMP or WebP image")
    status = orjson.loads(get(server.port, "/status").body)
    assert (status["model"], status["labels"]) == ("colours/2", len(LABELS))
    assert status["device"].startswith("CPU")
    assert status["default_signature"] == "serving_default"
    assert list(status["signatures"]) == ["serving_default", "numbers"]
    assert status["images"]["how"] == "4 x 5 RGB, bilinear, as (pixel - 100) * 0.5"
    assert all(each["max_batch_size"] >= 4 for each in status["signatures"].values())
    server.signal()
    assert server.exit_code() == 0, server.log
    for line in ("loading numpy", "loading colours/2 on CPU", "images: 4 x 5 RGB", "is ready on"):
        assert line in server.log


def test_an_error_of_the_engine_ends_the_server_in_one_line(model: Path) -> None:
    """As with TensorFlow: exit code 1, without a traceback."""
    folder = model.parent
    (folder / "labels.txt").write_text("red\ngreen")
    command = [*NUMPY_SERVER, "--model", "model.npz", "--port", "0"]
    done = run_program(command, cache_home=folder, folder=folder, seconds=30)
    assert done.returncode == 1
    expected = "'scores' gives [1, 3] for 1 row, but the number of"
    assert expected in reasons(done.stderr)[-1]
