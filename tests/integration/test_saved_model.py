"""Reading and loading SavedModels with TensorFlow itself: their outputs, and what is refused."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import numpy as np
import pytest

from model.backends.tensorflow.files.saved_model import (
    PixelInput,
    RestoredGraph,
    SavedGraph,
    load_saved_model,
    read_meta_graph,
)
from model.backends.tensorflow.session import Endpoint
from model.errors import ModelError
from model.images.layout import ImageLayout
from model.signature import STRING
from tests.integration.saved_model_graphs import colour_means
from tests.integration.saved_models import MEANS, PIXELS, SAVED_MODELS, SavedModelAt
from tests.integration.saving import Ends, Write, edit, save_functions, tf1, tf2

LAYOUT = ImageLayout(None, 4, 5, 3)

#: Loads a SavedModel, which is closed after the test.
Load = Callable[..., RestoredGraph]


@pytest.fixture
def load() -> Iterator[Load]:
    """Load the SavedModel in a folder."""
    import tensorflow.compat.v1 as tf

    sessions = []

    def loaded(folder: Path, pixels: PixelInput | None = None) -> RestoredGraph:
        saved = SavedGraph(read_meta_graph(folder), {})
        graph = load_saved_model(folder, saved, tf.ConfigProto(), pixels)
        sessions.append(graph.session)
        return graph

    yield loaded
    for session in sessions:
        session.close()


def answer(
    loaded: RestoredGraph, endpoint: Endpoint, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the outputs of an *endpoint* by name."""
    feed = endpoint.signature.feed(arrays)
    call = loaded.session.make_callable(list(endpoint.fetches), list(endpoint.feeds))
    names = [spec.name for spec in endpoint.signature.outputs]
    outputs = call(*feed.arrays)
    # TensorFlow returns a string without axes as bytes.
    outputs = [np.array(it, STRING) if isinstance(it, bytes) else it for it in outputs]
    return dict(zip(names, outputs, strict=True))


def assert_same(got: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """Assert the same names in the same order, and the same values, dtypes and shapes."""
    assert list(got) == list(expected)
    for name, array in got.items():
        assert array.dtype == expected[name].dtype
        assert array.shape == expected[name].shape
        if array.dtype == STRING:
            assert array.tolist() == expected[name].tolist()
        else:
            np.testing.assert_allclose(
                array.astype(np.float64), np.asarray(expected[name], np.float64), rtol=1e-5
            )


def test_a_saved_model_may_be_text(tmp_path: Path, load: Load, saved_model: SavedModelAt) -> None:
    """As `as_text` writes it."""
    from google.protobuf import text_format
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    served = SAVED_MODELS["affine"]
    copytree(saved_model("affine"), tmp_path / "model")
    binary = tmp_path / "model" / "saved_model.pb"
    text = text_format.MessageToString(SavedModel.FromString(binary.read_bytes()))
    binary.unlink()
    (tmp_path / "model" / "saved_model.pbtxt").write_text(text, "utf-8")
    loaded = load(tmp_path / "model")
    assert_same(answer(loaded, loaded.endpoints["serving_default"], served.feed), served.expected)


# --- loading


def unknown_operation(graph: Any) -> None:
    """Use an operation of a library that is not installed."""
    graph.graph_def.node.add(name="strange", op="MadeElsewhere")


def unknown_operation_in_a_function(graph: Any) -> None:
    """The same, within a function."""
    graph.graph_def.library.function[0].node_def.add(name="strange", op="MadeElsewhere")


def no_such_tensor(graph: Any) -> None:
    """Name an output that the graph does not have."""
    (info,) = graph.signature_def["serving_default"].outputs.values()
    info.name = "nowhere:0"


def asset_outside(graph: Any) -> None:
    """Name an asset outside the folder."""
    graph.asset_file_def[0].filename = "../../vocabulary.txt"


def collected_asset_outside(graph: Any) -> None:
    """The same, as TensorFlow 1 does."""
    from tensorflow.core.protobuf.meta_graph_pb2 import AssetFileDef

    (packed,) = graph.collection_def["saved_model_assets"].any_list.value
    asset = AssetFileDef()
    packed.Unpack(asset)
    asset.filename = "/etc/hostname"
    packed.Pack(asset)


def rewritten(path: str, data: bytes | None) -> Callable[[Path], None]:
    """Return a function that cuts a file of a SavedModel short, or removes it."""

    def change(folder: Path) -> None:
        if data is None:
            rmtree(folder / path)
        else:
            (folder / path).write_bytes(data)

    return change


def edited(change: Callable[[Any], None]) -> Callable[[Path], None]:
    """Return a function that makes a *change* to the graph in a folder."""
    return lambda folder: edit(folder, change)


DATA = "variables/variables.data-00000-of-00001"

SPOILT: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no variables": (
        "affine",
        rewritten("variables", None),
        "the variables are missing: no {folder}/variables/variables.index",
    ),
    "short variables": (
        "affine",
        rewritten(DATA, b"\0"),
        "cannot be loaded: Read less bytes than requested",
    ),
    "a short index": (
        "several signatures of one tensor",
        rewritten("variables/variables.index", b"\0" * 40),
        "cannot be loaded: file is too short to be an sstable",
    ),
    "no asset": (
        "vocabulary",
        rewritten("assets", None),
        "the asset 'model.txt' is missing in {folder}/assets",
    ),
    "no asset, TensorFlow 1": (
        "vocabulary, legacy init op",
        rewritten("assets", None),
        "the asset 'model.txt' is missing in {folder}/assets",
    ),
    "an asset elsewhere": (
        "vocabulary",
        edited(asset_outside),
        "the asset '../../vocabulary.txt' has a path outside of the model",
    ),
    "an asset elsewhere, TensorFlow 1": (
        "vocabulary, TensorFlow 1",
        edited(collected_asset_outside),
        "the asset '/etc/hostname' has a path outside of the model",
    ),
    "an asset that is no vocabulary": (
        "vocabulary",
        rewritten("assets/model.txt", b"ferry\nferry\n"),
        (
            "cannot be loaded: HashTable has different value for same key. "
            "Key ferry has 0 and trying to add value 1"
        ),
    ),
    "an unknown operation": (
        "affine",
        edited(unknown_operation),
        "cannot be loaded: Op type not registered 'MadeElsewhere'",
    ),
    "an unknown operation in a function": (
        "affine",
        edited(unknown_operation_in_a_function),
        "cannot be loaded: Op type not registered 'MadeElsewhere'",
    ),
    "no such tensor": (
        "affine",
        edited(no_such_tensor),
        (
            "cannot be loaded: The name 'nowhere:0' refers to a Tensor which does not exist. "
            "The operation, 'nowhere', does not exist in the graph."
        ),
    ),
}


@pytest.mark.parametrize(("name", "spoil", "reason"), list(SPOILT.values()), ids=list(SPOILT))
def test_a_spoilt_saved_model_is_refused(
    tmp_path: Path,
    load: Load,
    saved_model: SavedModelAt,
    name: str,
    spoil: Callable[[Path], None],
    reason: str,
) -> None:
    """In one line that states the fault."""
    folder = copytree(saved_model(name), tmp_path / "model")
    spoil(folder)
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert str(caught.value) == f"{folder}: {reason.format(folder=folder)}"


# --- pixels


def tf1_images(tf: Any) -> Mapping[str, Ends]:
    """Two signatures that share the tensor of the images; one outputs them unchanged."""
    image = tf.placeholder(tf.float32, (None, 4, 5, 3), name="tensorferry/Placeholder")
    scores = colour_means(tf, image=image)["scores"] * tf.get_variable("one", initializer=1.0)
    return {
        "serving_default": ({"image": image}, {"scores": scores}),
        "echo": ({"x": image}, {"same": image, "scores": scores}),
    }


def write_tf2_images(folder: Path) -> None:
    """A function with a variable: TensorFlow inlines it at run time, behind the fed tensor."""
    import tensorflow as tf

    one = tf.Variable(1.0)
    spec = ("float32", (None, 4, 5, 3))
    save_functions(
        folder,
        {
            "serving_default": (
                lambda image: {"scores": tf.reduce_mean(image, axis=[1, 2]) * one},
                {"image": spec},
            ),
            "echo": (lambda x: {"same": x, "scores": tf.reduce_mean(x, [1, 2])}, {"x": spec}),
        },
        one=one,
    )


@pytest.mark.parametrize(("signature", "name"), [("serving_default", "image"), ("echo", "x")])
@pytest.mark.parametrize("write", [tf1(tf1_images), write_tf2_images], ids=["tf1", "tf2"])
def test_an_input_takes_pixels_and_still_floats(
    tmp_path: Path, load: Load, write: Write, signature: str, name: str
) -> None:
    """In any order; every signature still takes floats, also the one that takes pixels."""
    write(tmp_path / "model")
    pixels = PixelInput(signature, name, LAYOUT, lambda images: images / 255)
    loaded = load(tmp_path / "model", pixels)
    assert loaded.pixels is not None
    (spec,) = loaded.pixels.signature.inputs
    assert (loaded.pixels.signature.name, str(spec)) == (f"{signature}:pixels", "uint8[?, 4, 5, 3]")
    scaled = (PIXELS / 255).astype(np.float32)
    expected = {"same": scaled, "scores": MEANS / 255}
    requests: list[tuple[Endpoint, dict[str, np.ndarray], slice]] = [
        (loaded.pixels, {name: PIXELS}, slice(0, 2)),
        (loaded.endpoints["serving_default"], {"image": scaled}, slice(0, 2)),
        (loaded.endpoints["echo"], {"x": scaled}, slice(0, 2)),
        (loaded.pixels, {name: PIXELS[:1]}, slice(0, 1)),
        (loaded.endpoints[signature], {name: scaled[1:]}, slice(1, 2)),
    ]
    for endpoint, arrays, rows in requests:
        got = answer(loaded, endpoint, arrays)
        assert_same(got, {key: expected[key][rows] for key in got})


@pytest.mark.parametrize(
    ("dtype", "shape"), [("float32", (None, None, None, 3)), ("float16", (None, 4, 5, 3))]
)
def test_pixels_may_fix_what_the_model_leaves_open(
    tmp_path: Path, load: Load, dtype: str, shape: object
) -> None:
    """The sizes are those that images are resized to; they become the sizes of the input."""
    tf2(colour_means, image=(dtype, shape))(tmp_path / "model")
    pixels = PixelInput("serving_default", "image", LAYOUT, lambda images: images)
    loaded = load(tmp_path / "model", pixels)
    assert loaded.pixels is not None
    assert_same(answer(loaded, loaded.pixels, {"image": PIXELS}), {"scores": MEANS})


def test_a_fixed_batch_of_pixels_runs_alone(tmp_path: Path, load: Load) -> None:
    """As it does with floats."""
    tf2(colour_means, image=("float32", (1, 4, 5, 3)))(tmp_path / "model")
    pixels = PixelInput("serving_default", "image", ImageLayout(1, 4, 5, 3), lambda images: images)
    loaded = load(tmp_path / "model", pixels)
    assert loaded.pixels is not None
    assert loaded.pixels.signature.alone == (
        "input 'image' is uint8[1, 4, 5, 3]: its first axis is not of variable size"
    )
    assert_same(answer(loaded, loaded.pixels, {"image": PIXELS[:1]}), {"scores": MEANS[:1]})
