"""Answers to photos, in every form that a client may send them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.backends.tensorflow.default_model.source import (
    DEFAULT_MODEL,
    GRAPH_FILE,
    ensure_default_model,
)
from model.repository.cache import CacheFolder
from model.repository.labels import LABELS_FILE
from tests.images import encoded, exif, png
from tests.integration.clients import Answer, form, post
from tests.integration.photos import KNOWN, jpeg, photo
from tests.integration.servers import Server

pytestmark = pytest.mark.full

#: Largest difference of two runs of the same image.
SAME = 1e-4

COFFEE, ROCKET = "coffee.png", "rocket.jpg"

Scores = dict[str, list[float]]


def by_label(scored: Iterable[tuple[str, float]]) -> Scores:
    """Return all scores by label; some labels have two classes."""
    scores: Scores = {}
    for label, score in scored:
        scores.setdefault(label, []).append(score)
    assert sum(map(len, scores.values())) == DEFAULT_MODEL.classes
    return scores


def all_scores(answer: Answer) -> Scores:
    """Return the scores of an answer with all labels."""
    return by_label(answer.labels)


def distance(some: Scores, others: Scores) -> float:
    """Return the largest difference of two sets of scores."""
    assert some.keys() == others.keys()
    return max(
        abs(a - b)
        for label in some
        for a, b in zip(sorted(some[label]), sorted(others[label]), strict=True)
    )


def preprocessed(file: bytes) -> npt.NDArray[np.uint8]:
    """Return an image prepared for EfficientNet-Lite0 as its documentation describes."""
    image = Image.open(BytesIO(file))
    side = int(224 / 256 * min(image.size))
    left, top = ((size - side + 1) // 2 for size in image.size)
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def reference(cache_home: Path) -> Iterator[Callable[[Sequence[bytes]], list[Scores]]]:
    """Run the converted graph of the servers in a Session of this test."""
    import tensorflow.compat.v1 as tf

    folder = ensure_default_model(CacheFolder(cache_home / "tensorferry"), lambda _: None).path
    names = (folder / LABELS_FILE).read_text().splitlines()
    with tf.Graph().as_default() as graph:
        definition = tf.GraphDef.FromString((folder / GRAPH_FILE).read_bytes())
        tf.import_graph_def(definition, name="")
    with tf.Session(graph=graph) as session:

        def run(files: Sequence[bytes]) -> list[Scores]:
            feed = {DEFAULT_MODEL.input_layer: np.stack([preprocessed(file) for file in files])}
            rows = session.run(DEFAULT_MODEL.output_layer, feed)
            return [by_label(zip(names, row.tolist(), strict=True)) for row in rows]

        yield run


@pytest.mark.parametrize("name", KNOWN)
def test_a_photo_is_labelled_right(server: Server, name: str) -> None:
    """As a form and as the body; five labels, the best first, in a batch of one row."""
    for body, headers in (form(jpeg(name)), (jpeg(name), {})):
        answer = post(server.port, body, headers=headers)
        assert answer.best in KNOWN[name]
        scores = [score for _, score in answer.labels]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)
        assert answer.headers["x-model-version"] == "efficientnet-lite0/1"
        assert [batch.rows for batch in answer.batches] == [1]


def test_a_photo_scores_the_same_on_the_server_and_in_a_batch_outside(
    server: Server, reference: Callable[[Sequence[bytes]], list[Scores]]
) -> None:
    """All 1000 scores."""
    expected = reference([jpeg(name) for name in KNOWN])
    for name, scores in zip(KNOWN, expected, strict=True):
        alone = all_scores(post(server.port, jpeg(name), path="/?k=1000"))
        assert distance(alone, scores) < SAME


def coffee_samples(bits: int) -> npt.NDArray[np.integer]:
    """Return the pixels of the cup of coffee with *bits* bits per sample."""
    return np.asarray(photo(COFFEE)).astype(np.uint16) << (bits - 8)


def with_alpha(image: Image.Image) -> Image.Image:
    """Return *image* with transparent corners, whose pixels are black."""
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 60, 60))
    black = Image.new("RGB", image.size)
    shown = Image.composite(image, black, alpha).convert("RGBA")
    shown.putalpha(alpha)
    return shown


FORMS: dict[str, Callable[[], bytes]] = {
    "JPEG, CMYK": lambda: encoded(photo(COFFEE).convert("CMYK"), "JPEG", quality=95),
    "PNG, alpha": lambda: encoded(with_alpha(photo(COFFEE)), "PNG"),
    "PNG, 16 bit": lambda: png(coffee_samples(16), 16, 2),
    "GIF": lambda: encoded(photo(COFFEE), "GIF"),
    "BMP": lambda: encoded(photo(COFFEE), "BMP"),
    "WebP": lambda: encoded(photo(COFFEE), "WEBP"),
}


@pytest.mark.parametrize("kind", FORMS)
def test_a_photo_is_recognised_in_every_format(server: Server, kind: str) -> None:
    """A cup of coffee is an espresso, however it is stored."""
    assert post(server.port, FORMS[kind]()).best == "espresso"


def test_a_photo_is_turned_upright(server: Server) -> None:
    """The scores are those of the upright photo; without EXIF they differ."""
    upright = all_scores(post(server.port, encoded(photo(ROCKET), "PNG"), path="/?k=1000"))
    stored = photo(ROCKET).transpose(Image.Transpose.ROTATE_90)
    with_exif = encoded(stored, "PNG", exif=exif(6))
    turned = all_scores(post(server.port, with_exif, path="/?k=1000"))
    as_stored = all_scores(post(server.port, encoded(stored, "PNG"), path="/?k=1000"))
    # The passes of the resize round in another order, which changes some pixels by one level.
    assert distance(turned, upright) < 0.01
    assert distance(as_stored, upright) > 0.05
    in_jpeg = encoded(stored, "JPEG", quality=95, exif=exif(6))
    assert post(server.port, in_jpeg).best in KNOWN[ROCKET]
