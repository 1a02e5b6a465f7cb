"""The pixels of label_image: those of TensorFlow's own operations, within one level."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.backends.tensorflow.jpeg import jpeg_reader
from model.images.decode import decode_image
from model.images.preprocessing import Preprocessing, Resample
from server.model_loading import locate_model
from server.settings.table import Settings
from tests.images import coloured, encoded
from tests.integration.graphs import load_files
from tests.integration.photos import photo
from tests.integration.saving import tf2

pytestmark = pytest.mark.full

LabelImage = Callable[[bytes, str, int, int], npt.NDArray[np.float32]]

#: Width and height of photos, and the height and width to which they are resized.
SIZES = [
    ("JPEG", (640, 427), (224, 224)),
    ("PNG", (427, 640), (299, 299)),
    ("JPEG", (1280, 853), (128, 192)),
    ("PNG", (33, 501), (97, 31)),
    ("JPEG", (224, 224), (224, 224)),
    ("PNG", (3, 2), (8, 8)),
    ("JPEG", (1, 1), (5, 7)),
]


@pytest.fixture(scope="module")
def label_image() -> Iterator[LabelImage]:
    """Yield a function that decodes, casts and resizes a file as label_image does."""
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        contents, size = tf.placeholder(tf.string, ()), tf.placeholder(tf.int32, (2,))
        decoded = {
            "JPEG": tf.image.decode_jpeg(contents, channels=3),
            "PNG": tf.image.decode_png(contents, channels=3),
            "GIF": tf.squeeze(tf.image.decode_gif(contents), 0),
            "BMP": tf.image.decode_bmp(contents),
        }
        resized = {
            kind: tf.raw_ops.ResizeBilinear(images=tf.cast(image, tf.float32)[None], size=size)[0]
            for kind, image in decoded.items()
        }
    with tf.Session(graph=graph) as session:
        yield lambda data, kind, height, width: session.run(
            resized[kind], {contents: data, size: (height, width)}
        )


def assert_near(
    label_image: LabelImage, data: bytes, kind: str, size: tuple[int, int] = (64, 48)
) -> None:
    """Compare every pixel of the server with that of label_image."""
    expected = label_image(data, kind, *size)
    wanted = Preprocessing(*size, resample=Resample.TF_BILINEAR)
    session, read_jpeg = jpeg_reader()
    with session:
        pixels = decode_image(data, wanted, max_pixels=10**7, read_jpeg=read_jpeg)
    assert np.abs(pixels - expected).max() <= 1.0


@pytest.mark.parametrize(("kind", "shown", "size"), SIZES)
def test_a_photo_of_any_size_has_label_images_pixels(
    label_image: LabelImage, kind: str, shown: tuple[int, int], size: tuple[int, int]
) -> None:
    """Larger or smaller than the size of the model, wide or high."""
    image = photo("coffee.png").convert("RGB").resize(shown)
    assert_near(label_image, encoded(image, kind), kind, size)


def written(mode: str, kind: str, **options: object) -> bytes:
    """Return a photo in this mode."""
    return encoded(photo("coffee.png").resize((90, 70)).convert(mode), kind, **options)


def turned() -> bytes:
    """Return a JPEG with an EXIF orientation of a quarter turn."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(photo("coffee.png").resize((90, 70)), "JPEG", exif=exif.tobytes())


def transparent(mode: str) -> bytes:
    """Return a PNG with every level of transparency."""
    image = coloured(90, 70).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return encoded(image.convert(mode), "PNG")


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "an EXIF orientation": ("JPEG", turned),
    "a grey JPEG": ("JPEG", lambda: written("L", "JPEG")),
    "a progressive JPEG": ("JPEG", lambda: written("RGB", "JPEG", progressive=True)),
    "a JPEG of full colour": ("JPEG", lambda: written("RGB", "JPEG", subsampling=0)),
    "a PNG with transparency": ("PNG", lambda: transparent("RGBA")),
    "a grey PNG with transparency": ("PNG", lambda: transparent("LA")),
    "a PNG with a palette": ("PNG", lambda: written("P", "PNG")),
    "a PNG with a transparent colour": ("PNG", lambda: written("P", "PNG", transparency=3)),
    "a PNG of one bit": ("PNG", lambda: written("1", "PNG")),
    "a PNG of 16 bits": ("PNG", lambda: written("I;16", "PNG")),
    "a GIF": ("GIF", lambda: written("P", "GIF")),
    "a GIF with a transparent colour": ("GIF", lambda: written("P", "GIF", transparency=3)),
    "a BMP": ("BMP", lambda: written("RGB", "BMP")),
}


@pytest.mark.parametrize(("kind", "write"), FILES.values(), ids=FILES)
def test_a_file_of_any_kind_has_label_images_pixels(
    label_image: LabelImage, kind: str, write: Callable[[], bytes]
) -> None:
    """Pixels as they are stored: not turned upright, and without transparency."""
    assert_near(label_image, write(), kind)


# --- models that get the pixels of label_image

HEIGHT, WIDTH = 48, 64

Scale = Callable[[Any], Any]  #: of images, before the output


def graph(shape: object, scale: Scale, dtype: str = "float32") -> Callable[[Path], Settings]:
    """Return a function that writes a frozen graph whose output is every pixel."""

    def write(folder: Path) -> Settings:
        import tensorflow.compat.v1 as tf

        made = tf.Graph()
        with made.as_default():
            images = tf.placeholder(dtype, shape, name="input")
            scaled = tf.cast(scale(images), tf.float32)
            tf.reshape(scaled, (-1, HEIGHT * WIDTH * 3), name="final_result")
        path = folder / "graph.pb"
        path.write_bytes(made.as_graph_def().SerializeToString())
        return Settings(graph=path)

    return write


def saved(shape: object) -> Callable[[Path], Settings]:
    """Return a function that writes a SavedModel whose output is every pixel."""

    def write(folder: Path) -> Settings:
        import tensorflow as tf

        flat = (-1, HEIGHT * WIDTH * 3)
        write_model = tf2(
            lambda _, images: {"y": tf.reshape(images, flat)}, images=("float32", shape)
        )
        write_model(folder / "saved")
        return Settings(model=folder / "saved")

    return write


def same(images: Any) -> Any:
    """Return images unchanged."""
    return images


@dataclass(frozen=True)
class Model:
    """A model, its settings, and the value that it makes of a pixel."""

    write: Callable[[Path], Settings]
    scale: float = 1 / 255
    offset: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)  #: of the command line
    toml: str = ""
    as_label_image: bool = True


OPEN, FIXED = (None, None, None, 3), (None, HEIGHT, WIDTH, 3)
SIZE = {"input_height": HEIGHT, "input_width": WIDTH}
MODELS = {
    "a graph of any size": Model(graph(OPEN, same), settings=SIZE),
    "with numbers": Model(
        graph(OPEN, same), 1 / 128, -1, settings=SIZE | {"input_mean": 128.0, "input_std": 128.0}
    ),
    "retrained from a module": Model(graph(FIXED, lambda x: x * 2.0 - 1.0), 2 / 255, -1),
    "that scales bytes": Model(graph(FIXED, lambda x: x / 127.5 - 1.0), 1 / 127.5, -1),
    "of bytes": Model(graph(FIXED, same, "uint8"), 1),
    "of one row": Model(graph((1, HEIGHT, WIDTH, 3), same)),
    "a SavedModel with numbers": Model(
        saved(FIXED), 1, -9, settings={"input_mean": 9.0, "input_std": 1.0}
    ),
    "a SavedModel with label_image's resample": Model(
        saved(FIXED), toml='resample = "tf_bilinear"'
    ),
    "a SavedModel": Model(saved(FIXED), as_label_image=False),
    "a graph with Pillow's resample": Model(
        graph(FIXED, same), toml='resample = "bilinear"', as_label_image=False
    ),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_model_gets_label_images_pixels_where_its_options_or_its_graph_ask(
    tmp_path: Path, label_image: LabelImage, model: Model
) -> None:
    """Every pixel within one level; else those of Pillow's interpolation, which averages."""
    settings = replace(model.write(tmp_path), **model.settings)
    _, files, facts = locate_model(settings, lambda _: None)
    (files.folder / "model.toml").write_text(f"[preprocessing]\n{model.toml}\n")
    _, files, facts = locate_model(settings, lambda _: None)
    loaded = load_files(files, facts)
    image = photo("coffee.png").convert("RGB").resize((301, 200))
    data = encoded(image, "JPEG")
    assert loaded.image_input is not None
    (got,) = loaded.runner.run(loaded.image_input.feed(data))
    loaded.runner.close()
    expected = label_image(data, "JPEG", HEIGHT, WIDTH).reshape(1, -1)
    apart = np.abs((got - model.offset) / model.scale - expected)
    assert (apart.max() <= 1.01) == model.as_label_image
    assert apart.mean() < 20  # the same photo, at any rate
