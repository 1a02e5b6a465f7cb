"""SavedModels that take images, served by the real service: how a photo is converted."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image
from twisted.internet.threads import deferToThread

from server.settings.table import Settings
from tests.images import encoded
from tests.integration.clients import Answer, form, get, post
from tests.integration.keras_models import KERAS_WARNINGS, written
from tests.integration.photos import jpeg, photo
from tests.integration.saved_model_graphs import colour_means, decoded_means
from tests.integration.saved_models import MEANS, PIXELS
from tests.integration.saving import Tensors, Write, tf2
from tests.integration.tensors import assert_outputs, inputs_of, request_body
from tests.integration.watched import WatchedServer, asked, in_reactor, watched_server

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("log"), *KERAS_WARNINGS]

#: The model.toml of a classifier: BGR, with other numbers for each channel.
CLASSIFIER = """
name = "colours"
version = 3
labels = "names.txt"
top_k = 2
[preprocessing]
colour_order = "bgr"
mean = [100.0, 110.5, 120.0]
scale = [0.5, -0.25, 0.125]
"""
MEAN, SCALE = np.array([100.0, 110.5, 120.0]), np.array([0.5, -0.25, 0.125])
LABELS = ("blueness", "greenness", "redness")

SETTINGS = Settings(port=0, lanes=1)

Images = dict[str, tuple[str, object]]
FLOATS: Images = {"image": ("float32", (None, 4, 5, 3))}
BYTES: Images = {"image": ("uint8", (None, 4, 5, 3))}
ENCODED: Images = {"image_bytes": ("string", [None])}


@asynccontextmanager
async def serving(
    folder: Path, write: Write, model_toml: str = "", settings: Settings = SETTINGS
) -> AsyncIterator[WatchedServer]:
    """Serve a model in a folder, with the given model.toml and settings."""
    model = folder / "model"
    write(model)
    (model / "model.toml").write_text(model_toml)
    (model / "names.txt").write_text("\n".join(LABELS))
    async with watched_server(replace(settings, model=model), folder) as watched:
        yield watched


async def check(watched: WatchedServer, body: bytes, expected: Mapping[str, np.ndarray]) -> None:
    """Post *body*, and assert these outputs."""
    answer = await asked(watched, body)
    assert answer.status == 200, answer.body
    assert_outputs(answer.body, expected)


async def check_refused(watched: WatchedServer, body: bytes, status: int, message: str) -> None:
    """Post *body*, and assert that it is refused."""
    answer = await asked(watched, body)
    assert (answer.status, answer.error) == (status, message)


def best_of(scores: np.ndarray) -> list[tuple[str, float]]:
    """Return the labels with their scores, the best first."""
    return sorted(zip(LABELS, scores.tolist(), strict=True), key=lambda pair: -pair[1])


def check_labels(answer: Answer, expected: list[tuple[str, float]]) -> None:
    """Assert these labels and these scores, in this order."""
    assert [label for label, _ in answer.labels] == [label for label, _ in expected]
    scores = [score for _, score in answer.labels]
    np.testing.assert_allclose(scores, [score for _, score in expected], rtol=1e-4)


def png(pixels: np.ndarray) -> bytes:
    """Return an image as a lossless file."""
    return encoded(Image.fromarray(pixels), "PNG")


@in_reactor
async def test_a_photo_is_labelled_as_model_toml_says(tmp_path: Path) -> None:
    """Squeezed, as BGR and normalised by channel; the best two, or as many as requested."""
    pixels = np.asarray(photo("coffee.png").resize((5, 4), Image.Resampling.BILINEAR))
    scores = ((pixels[:, :, ::-1] - MEAN) * SCALE).mean(axis=(0, 1))
    best = best_of(scores)
    file = encoded(photo("coffee.png"), "PNG")
    body, headers = form(file)
    async with serving(tmp_path, tf2(colour_means, **FLOATS), CLASSIFIER) as watched:
        for answer, count in (
            (await asked(watched, file), 2),
            (await asked(watched, body, headers=headers), 2),
            (await asked(watched, file, path="/?k=3"), 3),
        ):
            assert answer.headers["x-model-version"] == "colours/3"
            check_labels(answer, best[:count])
        status = orjson.loads((await deferToThread(get, watched.port, "/status")).body)
    assert status["labels"] == 3
    assert status["images"] == {
        "signature": "serving_default:pixels",
        "how": "4 x 5 BGR, bilinear, as (pixel - (100, 110.5, 120)) * (0.5, -0.25, 0.125)",
    }


def keras_means(keras: Any) -> Any:
    """Score each colour by its mean."""
    return keras.Sequential(
        [keras.Input((4, 5, 3), name="image"), keras.layers.GlobalAveragePooling2D(name="scores")]
    )


def write_keras_means(folder: Path) -> None:
    """Put a Keras file into a folder that may hold more."""
    folder.mkdir()
    written(keras_means, folder / "colours.keras")


@in_reactor
async def test_a_keras_file_in_a_folder_labels_photos(tmp_path: Path) -> None:
    """With the model.toml and the labels beside it."""
    async with serving(tmp_path, write_keras_means, CLASSIFIER) as watched:
        answer = await asked(watched, png(PIXELS[0]))
        scores = ((MEANS[0, ::-1] - MEAN) * SCALE).astype(np.float32)
        check_labels(answer, best_of(scores)[:2])


@in_reactor
async def test_pixels_and_photos_share_runs_and_floats_are_fed_unchanged(tmp_path: Path) -> None:
    """Pixels are normalised like a photo, in one run with it; floats are already normalised."""
    toml = "[preprocessing]\nmean = [1.0, 2.0, 3.0]\nscale = [0.5, 0.25, 0.125]"
    normalised = (MEANS - [1, 2, 3]) * [0.5, 0.25, 0.125]
    pixels = request_body(inputs_of({"image": PIXELS[:1]}), "serving_default:pixels")
    async with serving(tmp_path, tf2(colour_means, **FLOATS), toml) as watched:
        with watched.runner.held():
            first = deferToThread(post, watched.port, pixels)
            await watched.until(lambda: watched.stats.running == 1, "a run that is held")
            second = deferToThread(post, watched.port, png(PIXELS[1]))
            third = deferToThread(post, watched.port, pixels)
            await watched.until(lambda: watched.stats.waiting == 2, "two in the queue")
        for answer, row in ((first, 0), (second, 1), (third, 0)):
            assert_outputs((await answer).body, {"scores": normalised[row : row + 1]})
        assert watched.runner.batches == [1, 2]
        floats = request_body(inputs_of({"image": PIXELS.astype(np.float32)}))
        await check(watched, floats, {"scores": MEANS})
        wrong = request_body(inputs_of({"image": PIXELS / 255}), "serving_default:pixels")
        at = "input 'image' at [0, 0, 0, 0]: expected whole numbers from 0 to 255"
        await check_refused(watched, wrong, 400, f"{at}, got {PIXELS[0, 0, 0, 0] / 255}")


@in_reactor
async def test_a_model_of_uint8_gets_photos_in_its_colour_order(tmp_path: Path) -> None:
    """BGR, with nothing subtracted; tensors are in the model's own order unless they are pixels."""
    toml = '[preprocessing]\ncolour_order = "bgr"'
    inputs = inputs_of({"image": PIXELS[:1]})
    async with serving(tmp_path, tf2(colour_means, **BYTES), toml) as watched:
        await check(watched, png(PIXELS[0]), {"scores": MEANS[:1, ::-1]})
        await check(watched, request_body(inputs), {"scores": MEANS[:1]})
        pixels = request_body(inputs, "serving_default:pixels")
        await check(watched, pixels, {"scores": MEANS[:1, ::-1]})


@in_reactor
async def test_a_model_of_any_size_gets_photos_of_the_size_that_is_set(tmp_path: Path) -> None:
    """In model.toml; tensors may still have any size."""
    toml = "[preprocessing]\nheight = 4\nwidth = 5\nscale = 1.0"
    images: Images = {"image": ("float32", (None, None, None, 3))}
    async with serving(tmp_path, tf2(colour_means, **images), toml) as watched:
        await check(watched, png(PIXELS[0]), {"scores": MEANS[:1]})
        small = PIXELS[:, :2, :3].astype(np.float32)
        expected = {"scores": small.mean(axis=(1, 2))}
        await check(watched, request_body(inputs_of({"image": small})), expected)


@in_reactor
async def test_a_model_that_decodes_images_gets_the_file(tmp_path: Path) -> None:
    """A PNG and a JPEG unchanged; data that is no image, or too large, is refused first."""
    settings = replace(SETTINGS, max_pixels=20)
    async with serving(tmp_path, tf2(decoded_means, **ENCODED), settings=settings) as watched:
        await check(watched, png(PIXELS[0]), {"scores": MEANS[:1]})
        small = photo("coffee.png").resize((5, 4))
        file = encoded(small, "JPEG", quality=95)
        means = np.asarray(Image.open(BytesIO(file))).mean(axis=(0, 1), keepdims=True)[0]
        answer = await asked(watched, file)
        (scores,) = orjson.loads(answer.body)["outputs"]["scores"]
        np.testing.assert_allclose([scores], means, atol=3)  # JPEG changes colours
        watched.runner.batches.clear()
        message = "data that begins with 6e 6f 20 69 6d 61 67 65 (8 bytes) is not a JPEG, PNG"
        await check_refused(watched, b"no image", 400, f"{message}, GIF, BMP or WebP image")
        message = "600 x 400 is 240000 pixels, over the limit of 20"
        await check_refused(watched, jpeg("coffee.png"), 413, message)
        assert watched.runner.batches == []


def two_outputs(columns: int, dtype: str) -> Write:
    """Return a writer of a model that scores colours, with an output of *columns* other numbers."""

    def function(tf: Any, image: Any) -> Tensors:
        scores = tf.cast(colour_means(tf, image=image)["scores"], dtype)
        return {"scores": scores, "others": scores[:, ::-1][:, :columns]}

    return tf2(function, **FLOATS)


@pytest.mark.parametrize("dtype", ["bfloat16", "uint8"])
@in_reactor
async def test_scores_of_any_numbers_are_labelled(tmp_path: Path, dtype: str) -> None:
    """Those of the output that has one for each label."""
    toml = 'labels = "names.txt"\n[preprocessing]\nscale = 1.0'
    async with serving(tmp_path, two_outputs(2, dtype), toml) as watched:
        answer = await asked(watched, png(PIXELS[0]))
        check_labels(answer, best_of(MEANS[0].astype(dtype).astype(np.float64)))


@in_reactor
async def test_the_output_that_is_named_is_labelled(tmp_path: Path) -> None:
    """Where several could be the scores; an answer to tensors has all outputs."""
    toml = 'labels = "names.txt"\noutput = "others"\n[preprocessing]\nscale = 1.0'
    async with serving(tmp_path, two_outputs(3, "float32"), toml) as watched:
        answer = await asked(watched, png(PIXELS[0]))
        check_labels(answer, best_of(MEANS[0, ::-1]))
        tensors = request_body(inputs_of({"image": PIXELS.astype(np.float32)}))
        await check(watched, tensors, {"others": MEANS[:, ::-1], "scores": MEANS})
