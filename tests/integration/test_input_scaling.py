"""The range of pixels that a model is fed with: found in its graph, checked by its outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.backend import LoadedModel
from model.backends.tensorflow.rewriting.flat_graph import flat_graph
from model.backends.tensorflow.rewriting.input_scaling import input_scaling
from model.errors import ModelError
from model.images.value_range import Affine
from tests.images import encoded
from tests.integration.graphs import LoadModel
from tests.integration.keras_models import KERAS_WARNINGS

pytestmark = [pytest.mark.full, *KERAS_WARNINGS]

Scale = Callable[..., Any]  #: of TensorFlow, the images and variables
Write = Callable[[Path], Path]

CAFFE = [103.939, 116.779, 123.68]
TORCH_MEAN, TORCH_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def frozen(scale: Scale, dtype: str = "float32") -> Write:
    """Return a function that writes a frozen graph that scales its images by *scale*."""

    def write(folder: Path) -> Path:
        import tensorflow.compat.v1 as tf

        with tf.Graph().as_default() as graph:
            images = tf.placeholder(dtype, (None, 8, 8, 3), name="input")
            scaled = tf.cast(scale(tf, images), tf.float32)
            tf.reduce_mean(scaled, [1, 2], name="final_result")
        path = folder / "graph.pb"
        path.write_bytes(graph.as_graph_def().SerializeToString())
        return path

    return write


def saved(scale: Scale, **held: Any) -> Write:
    """Return a function that writes a SavedModel of TensorFlow 2, with nested functions."""

    def write(folder: Path) -> Path:
        import tensorflow as tf

        module = tf.Module()
        module.held = {name: tf.Variable(float(value), name=name) for name, value in held.items()}
        inner = tf.function(lambda images: scale(tf, images, **module.held))

        def serve(images: Any) -> dict[str, Any]:
            return {"scores": tf.reduce_mean(inner(images), [1, 2])}

        spec = tf.TensorSpec((None, 8, 8, 3), tf.float32, "images")
        concrete = tf.function(serve).get_concrete_function(spec)
        tf.saved_model.save(module, str(folder / "saved"), {"serving_default": concrete})
        return folder / "saved"

    return write


def keras_layers(*layers: Callable[[Any], Any], size: int = 8) -> Write:
    """Return a function that writes a Keras file that begins with these layers."""

    def write(folder: Path) -> Path:
        import tensorflow as tf

        keras = tf.keras
        model = keras.Sequential([keras.Input((size, size, 3)), *(each(keras) for each in layers)])
        model.add(keras.layers.GlobalAveragePooling2D(name="scores"))
        model.save(folder / "model.keras")
        return folder / "model.keras"

    return write


def caffe(tf: Any, images: Any) -> Any:
    """Scale each channel separately and join them in reverse order."""
    red, green, blue = tf.split(images, 3, 3)
    return tf.concat([blue - CAFFE[0], green - CAFFE[1], red - CAFFE[2]], 3)


def batch_norm(tf: Any, images: Any) -> Any:
    """Normalise like a first layer that was trained on 0..1."""
    numbers = ([1.0] * 3, [0.0] * 3, TORCH_MEAN, np.square(TORCH_STD).tolist())
    return tf.nn.fused_batch_norm(images, *numbers, is_training=False, epsilon=1e-5)[0]


@dataclass(frozen=True)
class Scaling:
    """A model, and its outputs for white and black images in the range of its training."""

    write: Write
    white: float  #: of the first channel
    black: float
    message: str  #: is in the line that states the range fed


FOUND = {
    "frozen 2x-1": Scaling(
        frozen(lambda tf, x: tf.subtract(tf.multiply(x, 2.0), 1.0)), 1, -1, "0..1: "
    ),
    "frozen (x-128)/128": Scaling(
        frozen(lambda tf, x: tf.multiply(tf.subtract(x, 128.0), 1 / 128)), 0.992, -1, "0..255: "
    ),
    "frozen caffe": Scaling(frozen(caffe), 255 - CAFFE[0], -CAFFE[0], "0..255: "),
    "frozen 1-x/127.5": Scaling(frozen(lambda _, x: 1 - x / 127.5), -1, 1, "0..255: "),
    "frozen x*255 - caffe": Scaling(
        frozen(lambda tf, x: tf.nn.bias_add(x * 255.0, [-each for each in CAFFE])),
        *(255 - CAFFE[0], -CAFFE[0], "0..1: "),
    ),
    "saved (x+1)*127.5": Scaling(saved(lambda _, x: (x + 1) * 127.5), 255, 0, "-1..1: "),
    "frozen through uint8": Scaling(
        frozen(lambda tf, x: tf.image.convert_image_dtype(tf.cast(x, tf.uint8), tf.float32)),
        *(1, 0, "0..255: "),
    ),
    "frozen batch norm": Scaling(frozen(batch_norm), (1 - 0.485) / 0.229, -0.485 / 0.229, "0..1: "),
    "saved x/127.5-1": Scaling(saved(lambda _, x: x * (1 / 127.5) - 1), 1, -1, "0..255: "),
    "saved torch": Scaling(
        saved(lambda _, x: (x - TORCH_MEAN) / TORCH_STD),
        *((1 - 0.485) / 0.229, -0.485 / 0.229, "0..1: "),
    ),
    "saved resize, then scale": Scaling(
        saved(lambda tf, x: tf.image.resize(tf.clip_by_value(x, 0, 255), [4, 4]) / 255),
        *(1, 0, "0..255: "),
    ),
    "saved variables": Scaling(
        saved(lambda tf, x, mean, std: (x - mean) / tf.sqrt(std), mean=127.5, std=127.5**2),
        *(1, -1, "0..255: "),
    ),
    "keras Rescaling to -1..1": Scaling(
        keras_layers(lambda keras: keras.layers.Rescaling(1 / 127.5, -1)), 1, -1, "0..255: "
    ),
    "keras batch norm of 0..255": Scaling(
        keras_layers(
            lambda keras: keras.layers.RandomFlip(),
            lambda keras: keras.layers.BatchNormalization(
                moving_mean_initializer=keras.initializers.Constant(120.0),
                moving_variance_initializer=keras.initializers.Constant(3600.0),
                epsilon=1e-3,
            ),
        ),
        *(135 / 60, -2, "0..255: "),
    ),
    "channels in opposite directions": Scaling(
        saved(lambda _, x: x * [1 / 255, -1 / 255, 1 / 255]), 1 / 255, 0, "0..1, a guess: no"
    ),
    "whole numbers": Scaling(
        frozen(lambda tf, x: tf.cast(tf.cast(x, tf.uint8), tf.float32)),
        *(255, 0, "0..255, a guess: how the model scales them is not clear: it converts"),
    ),
    "nothing": Scaling(frozen(lambda tf, x: tf.identity(x)), 1, 0, "0..1, a guess: no scaling"),
    "no usual range": Scaling(saved(lambda _, x: x / 127.5), 2, 0, "0..255, a guess: the model"),
    "two ways": Scaling(
        frozen(lambda tf, x: tf.nn.relu(x / 255.0) + tf.nn.relu(x * 3.0)), 3.0039, 0, "two ways"
    ),
    "hidden in a loop": Scaling(
        saved(lambda tf, x: tf.map_fn(lambda image: image / 255, x)), 0.0039, 0, "is not clear"
    ),
}


def answer(loaded: LoadedModel, level: int) -> float:
    """Return the first number that a model gives for an image of one level."""
    assert loaded.image_input is not None
    image = Image.new("RGB", (9, 7), (level,) * 3)
    (scores,) = loaded.runner.run(loaded.image_input.feed(encoded(image, "PNG")))
    return float(scores[0, 0])


@pytest.mark.parametrize("scaling", FOUND.values(), ids=FOUND)
def test_images_are_fed_in_the_range_that_the_model_was_trained_on(
    tmp_path: Path, load_model: LoadModel, scaling: Scaling
) -> None:
    """White and black give the numbers of the training; one line states the range found and fed."""
    loaded, lines = load_model(scaling.write(tmp_path))
    (line,) = [each for each in lines if "images are fed as" in each]
    assert scaling.message in line
    assert line.startswith("warning: ") == ("a guess" in line)
    assert answer(loaded, 255) == pytest.approx(scaling.white, abs=4e-3)
    assert answer(loaded, 0) == pytest.approx(scaling.black, abs=4e-3)


def test_a_function_that_calls_itself_is_read_to_a_limit() -> None:
    """The reading of a crafted file ends; the call at the limit counts as one that mixes pixels."""
    import tensorflow.compat.v1 as tf

    graph_def = tf.GraphDef()
    function = graph_def.library.function.add()
    function.signature.name = "itself"
    function.signature.input_arg.add(name="x", type=tf.float32.as_datatype_enum)
    function.signature.output_arg.add(name="y", type=tf.float32.as_datatype_enum)
    function.node_def.add(name="again", op="itself", input=["x"])
    function.ret["y"] = "again:y:0"
    graph_def.node.add(name="images", op="Placeholder")
    graph_def.node.add(name="call", op="itself", input=["images"])
    flat = flat_graph(graph_def)
    assert input_scaling(flat, ("images", 0), [("call", 0)], lambda _: None) == Affine()


def test_given_numbers_are_used_with_a_warning_where_they_do_not_suit(
    tmp_path: Path, load_model: LoadModel
) -> None:
    """0..1 for a model that itself divides by 255 is fed as the options state, with a warning."""
    path = FOUND["saved x/127.5-1"].write(tmp_path)
    loaded, lines = load_model(path, scale=(1 / 255,) * 3)
    assert answer(loaded, 255) == pytest.approx(1 / 127.5 - 1, abs=1e-4)
    (line,) = [each for each in lines if each.startswith("warning: ")]
    assert "as your options set it" in line
    assert "--input-mean 0 --input-std 1" in line
    loaded, lines = load_model(path, mean=(0.0,) * 3, scale=(1.0,) * 3)
    assert answer(loaded, 255) == pytest.approx(1, abs=1e-4)
    assert not [each for each in lines if each.startswith("warning: ")]


def test_no_weights_are_read_to_find_the_range() -> None:
    """Only variables that scale pixels are read: no layer's weights, no residual branch's."""
    import tensorflow.compat.v1 as tf

    layers = 12
    with tf.Graph().as_default() as graph:
        images = tf.placeholder("float32", (None, 8, 8, 3), name="input")
        values = pixels = images * tf.get_variable("scale", (), use_resource=True)
        for number in range(layers):
            weights = tf.get_variable(f"weights_{number}", (3, 3, 3, 3), use_resource=True)
            values += tf.nn.conv2d(values, weights, 1, "SAME")
        tf.subtract(pixels, values, name="final_result")
    read: list[str] = []

    def variable(name: str) -> np.ndarray:
        read.append(name)
        return np.array(1 / 255)

    found = input_scaling(
        flat_graph(graph.as_graph_def()), ("input", 0), [("final_result", 0)], variable
    )
    assert found == Affine(1 / 255)
    assert set(read) == {"scale"}
    assert len(read) <= layers


def test_variables_that_are_cut_short_are_an_error_of_one_line(
    tmp_path: Path, load_model: LoadModel
) -> None:
    """Those that scale the pixels are read before the model is loaded."""
    path = FOUND["saved variables"].write(tmp_path)
    (data,) = (path / "variables").glob("variables.data-*")
    data.write_bytes(data.read_bytes()[:2])
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
