"""TensorFlow Serving's REST API over real sockets, with SavedModels of TensorFlow 1 and 2."""

import gzip
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from twisted.internet.threads import deferToThread

from server.api.tfserving.examples import example_in, serialised
from server.settings.table import Settings
from tests.fakes.server import watched_log
from tests.images import coloured, encoded
from tests.integration.clients import Answer, get, post
from tests.integration.saved_model_graphs import colour_means, decoded_means
from tests.integration.saving import Ends, Tensors, tf1, tf2
from tests.integration.watched import WatchedServer, in_reactor, module_fixture, watched_server

pytestmark = pytest.mark.full

PHOTOS = [encoded(coloured(31, 17), "JPEG"), encoded(Image.new("RGB", (5, 4), (9, 90, 200)), "PNG")]


def scored_examples(tf: Any) -> Mapping[str, Ends]:
    """The signatures of an Estimator: classify, regress and predict by serialised tf.Examples."""
    examples = tf.placeholder(tf.string, [None], name="input_example_tensor")
    features = tf.io.parse_example(
        examples,
        {
            "x": tf.FixedLenFeature((2,), tf.float32),
            "k": tf.FixedLenFeature((), tf.int64, 7),
            "word": tf.FixedLenFeature((), tf.string, "none"),
        },
    )
    word, k = features["word"][:, None], tf.as_string(features["k"])[:, None]
    classes = tf.concat([word, k], axis=1)
    total = tf.reduce_sum(features["x"], axis=1, keepdims=True)
    return {
        "serving_default": ({"inputs": examples}, {"classes": classes, "scores": features["x"]}),
        "regression": ({"inputs": examples}, {"outputs": total}),
        "predict": ({"examples": examples}, {"x": features["x"], "k": features["k"]}),
    }


def words(tf: Any, word: Any, count: Any, scale: Any) -> Tensors:
    """Several inputs and outputs of several dtypes, and text that is written as bytes."""
    return {
        "twice": tf.strings.join([word, word]),
        "twice_bytes": tf.strings.join([word, word]),
        "product": tf.cast(count, tf.float32)[:, None] * scale,
        "next": count + 1,
        "large": count > 10,
    }


MODELS = {
    "examples": tf1(scored_examples),
    "words": tf2(
        words, word=("string", [None]), count=("int64", [None]), scale=("float32", (None, 2))
    ),
    "pixels": tf2(colour_means, pixels=("uint8", (None, 4, 5, 3))),
    "files": tf2(decoded_means, image_bytes=("string", [None])),
}


@module_fixture(*MODELS)
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, WatchedServer]]:
    """Serve each model in turn; return its name, and the server."""
    base = tmp_path_factory.mktemp("served")
    MODELS[request.param](base / request.param)
    options = Settings(port=0, model=base / request.param, max_batch_size=2, lanes=1)
    with watched_log():
        async with watched_server(options, base) as watched:
            yield request.param, watched


async def asked(
    server: tuple[str, WatchedServer], action: str, content: object, *, zipped: bool = False
) -> Answer:
    """Post *content* to the only model."""
    _, watched = server
    body = orjson.dumps(content)
    headers = {"Content-Encoding": "gzip"} if zipped else {}
    return await deferToThread(
        post,
        watched.port,
        gzip.compress(body) if zipped else body,
        path=f"/v1/models/default:{action}",
        headers=headers,
    )


async def answered(
    server: tuple[str, WatchedServer], action: str, content: object, **options: bool
) -> Any:
    """Post *content* to the only model, and return the content of its answer."""
    answer = await asked(server, action, content, **options)
    assert answer.status == 200, answer.body
    return orjson.loads(answer.body)


def served(*names: str) -> pytest.MarkDecorator:
    """Return the mark of a test that needs these models alone."""
    return pytest.mark.parametrize("server", names, indirect=True)


@served("examples")
@in_reactor
async def test_examples_are_classified_and_regressed(server: tuple[str, WatchedServer]) -> None:
    """By what TensorFlow parses of them; the context is a part of each."""
    examples = [{"x": [1.5, 2.5], "word": "cat"}, {"x": [3.0, 0.25], "k": 9}, {"x": [0.0, 1.0]}]
    content = {"context": {"k": 5}, "examples": examples}
    assert await answered(server, "classify", content) == {
        "results": [
            [["cat", 1.5], ["5", 2.5]],
            [["none", 3.0], ["9", 0.25]],
            [["none", 0.0], ["5", 1.0]],
        ]
    }
    regress = {"signature_name": "regression", "examples": examples}
    assert await answered(server, "regress", regress, zipped=True) == {"results": [4.0, 3.25, 1.0]}
    data = b64encode(serialised(example_in({"x": [1.5, 2.5]}))).decode()
    predict = {"signature_name": "predict", "instances": [{"b64": data}]}
    assert await answered(server, "predict", predict) == {
        "predictions": [{"x": [1.5, 2.5], "k": 7}]
    }


@served("examples")
@in_reactor
async def test_an_example_that_the_model_refuses_is_a_400(
    server: tuple[str, WatchedServer],
) -> None:
    """The others of the request are not answered, but the next request is."""
    answer = await asked(server, "classify", {"examples": [{"x": [1.0, 2.0]}, {"x": [1.0]}]})
    assert answer.status == 400
    assert "Key: x" in orjson.loads(answer.body)["error"]
    await answered(server, "classify", {"examples": [{"x": [1.0, 2.0]}]})


@served("words")
@in_reactor
async def test_rows_and_columns_of_several_inputs(server: tuple[str, WatchedServer]) -> None:
    """Strings, whole numbers and floats; a row too many for one batch."""
    rows = [
        {"word": "a", "count": 2, "scale": [1, 0.5]},
        {"word": {"b64": "/w=="}, "count": 2**53, "scale": [0.1, 3]},
        {"word": "ü", "count": -11, "scale": [0, 0]},
    ]
    expected: list[dict[str, Any]] = [
        {"twice": "aa", "twice_bytes": {"b64": "YWE="}, "product": [2.0, 1.0], "next": 3,
            "large": False},
        {"twice": {"b64": "//8="}, "twice_bytes": {"b64": "//8="}, "next": 2**53 + 1,
            "product": [900719951937536.0, 2.7021597764222976e16], "large": True},
        {"twice": "üü", "twice_bytes": {"b64": "w7zDvA=="}, "product": [0.0, 0.0], "next": -10,
            "large": False},
    ]  # fmt: skip
    found = await answered(server, "predict", {"instances": rows})
    for row, wanted in zip(found["predictions"], expected, strict=True):
        np.testing.assert_allclose(row.pop("product"), wanted.pop("product"), rtol=1e-6)
        assert row == wanted
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    outputs = (await answered(server, "predict", {"inputs": columns}))["outputs"]
    assert outputs["next"] == [row["next"] for row in expected]
    assert outputs["twice_bytes"] == [row["twice_bytes"] for row in expected]


@served("pixels", "files")
@in_reactor
async def test_images_have_the_scores_of_the_native_dialect(
    server: tuple[str, WatchedServer],
) -> None:
    """Decoded here or by the model; a row each."""
    native = [await deferToThread(post, server[1].port, photo) for photo in PHOTOS]
    scores = [orjson.loads(answer.body)["outputs"]["scores"][0] for answer in native]
    rows = [{"b64": b64encode(photo).decode()} for photo in PHOTOS]
    if server[0] == "files":  # it decodes PNG files only
        del rows[0], scores[0]
    assert await answered(server, "predict", {"instances": rows}) == {"predictions": scores}
    assert await answered(server, "predict", {"inputs": rows[-1]}) == {"outputs": scores[-1:]}
    (name,) = (await metadata(server))["serving_default"]["inputs"]
    named = {"instances": [{name: row} for row in rows]}
    assert await answered(server, "predict", named) == {"predictions": scores}


async def metadata(server: tuple[str, WatchedServer]) -> Any:
    """Return the signatures in the metadata of the only model."""
    answer = await deferToThread(get, server[1].port, "/v1/models/default/metadata")
    content = orjson.loads(answer.body)
    assert content["model_spec"] == {"name": "default", "signature_name": "", "version": "1"}
    return content["metadata"]["signature_def"]["signature_def"]


@in_reactor
async def test_status_and_metadata_describe_the_model(server: tuple[str, WatchedServer]) -> None:
    """Its only version is available."""
    name, watched = server
    answer = await deferToThread(get, watched.port, "/v1/models/default")
    content = orjson.loads(answer.body)
    (version,) = content["model_version_status"]
    assert (version["state"], content["name"], content["ready"]) == ("AVAILABLE", "default", True)
    signatures = await metadata(server)
    methods = {key: it["method_name"].rpartition("/")[2] for key, it in signatures.items()}
    assert methods["serving_default"] == ("classify" if name == "examples" else "predict")
    if name == "examples":
        assert methods["regression"] == "regress"


FEATURES = st.dictionaries(
    st.text(max_size=5),
    st.lists(st.integers(-(2**63), 2**63 - 1))
    | st.lists(st.floats(width=32))
    | st.lists(st.text())
    | st.booleans(),
    max_size=4,
)


@settings(deadline=None)
@given(FEATURES)
def test_tensorflow_parses_a_serialised_example(features: Mapping[str, Any]) -> None:
    """Into the same features."""
    import tensorflow as tf

    parsed = tf.train.Example.FromString(serialised(example_in(features)))
    assert parsed.features.feature.keys() == features.keys()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        feature = parsed.features.feature[name]
        match values:
            case []:
                assert feature.WhichOneof("kind") is None
            case [str(), *_]:
                assert [it.decode() for it in feature.bytes_list.value] == values
            case [float(), *_]:
                np.testing.assert_array_equal(feature.float_list.value, values)
            case _:
                assert feature.int64_list.value == [int(it) for it in values]
