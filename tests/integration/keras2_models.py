"""Models of Keras 2, with weights for which any mistake changes the outputs."""

from collections.abc import Callable
from typing import Any

import numpy as np

#: Returns a model of the tf_keras module that it is given.
Build = Callable[[Any], Any]

IMAGE = (8, 8, 3)
SERIES = (5, 3)


def stack(shape: tuple[int, ...], *kinds: Callable[[Any], Any]) -> Build:
    """Return a function that builds a stack of layers, each made of `keras.layers`."""

    def build(keras: Any) -> Any:
        first = keras.Input(shape, name="rows")
        return keras.Sequential([first, *(kind(keras.layers) for kind in kinds)])

    return build


def calls(keras: Any) -> Any:
    """Operations of TensorFlow, and of Python, between the layers."""
    import tensorflow as tf

    rows = keras.Input((4,), name="rows")
    sums = tf.nn.relu(rows * 2.0 - 1) / 127.5 + tf.math.reduce_mean(rows, axis=1, keepdims=True)
    joined = tf.concat([sums, rows[:, 1:3], -rows[:, ::2]], -1)
    return keras.Model(rows, tf.clip_by_value(tf.reshape(joined, [-1, 8]), 0.1, 3))


def resized(keras: Any) -> Any:
    """The same on images."""
    import tensorflow as tf

    rows = keras.Input(IMAGE, name="rows")
    small = tf.image.resize(tf.cast(rows, tf.float32), (4, 4))
    return keras.Model(
        rows, keras.layers.Conv2D(2, 3)(tf.pad(small, [[0, 0], [1, 1], [1, 1], [0, 0]]))
    )


def teachable(keras: Any) -> Any:
    """A stack of stacks around a convolutional model, as Teachable Machine writes it."""
    layers = keras.layers
    image = keras.Input(IMAGE, name="input_1")
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="Conv1_pad")(image)
    x = layers.Conv2D(4, 3, strides=2, use_bias=False, name="Conv1")(x)
    x = layers.BatchNormalization(name="bn_Conv1")(x)
    x = layers.ReLU(6.0, name="Conv1_relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="expanded_conv")(x)
    network = keras.Model(image, layers.Add(name="block_add")([x, y]), name="model1")
    features = keras.Sequential([network, layers.GlobalAveragePooling2D()])
    head = keras.Sequential(
        [
            layers.Dense(5, activation="relu", input_shape=(4,)),
            layers.Dense(3, activation="softmax", use_bias=False),
        ]
    )
    return keras.Sequential([features, head])


def nested(keras: Any) -> Any:
    """Models within models, one used twice, compiled with a loss that a server does not have."""

    def own_loss(_: Any, scores: Any) -> Any:
        return scores

    layers = keras.layers
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3, name="block/dense/1")])
    inner.compile("adam", own_loss)
    rows = keras.Input((3,), name="rows")
    model = keras.Model(rows, layers.Subtract(name="head/scores")([inner(inner(rows)), rows]))
    model.compile("sgd", own_loss)
    return model


def half(keras: Any) -> Any:
    """Half precision within."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return stack(
            IMAGE,
            lambda layers: layers.Conv2D(4, 3),
            lambda layers: layers.GlobalAveragePooling2D(),
            lambda layers: layers.Dense(2, dtype="float32", activation="softmax"),
        )(keras)
    finally:
        keras.mixed_precision.set_global_policy("float32")


def several(keras: Any) -> Any:
    """Two inputs, two outputs."""
    layers = keras.layers
    first, second = (keras.Input((3,), name=name) for name in ("z", "class"))
    both = layers.Concatenate(name="both")([first, second])
    return keras.Model([first, second], [layers.Dense(2, name="scores")(both), both])


def keyed(keras: Any) -> Any:
    """Two inputs and outputs, by the keys of dicts."""
    first, second = (keras.Input((3,), name=name) for name in ("z", "a"))
    both = keras.layers.Dot(1, name="dot")([first, second])
    return keras.Model({"from": first, "b": second}, {"y": both, "in": second})


def attention(keras: Any) -> Any:
    """The layers of transformers."""
    layers = keras.layers
    rows = keras.Input((4, 6), name="rows")
    seen = layers.MultiHeadAttention(2, 3)(rows, rows, use_causal_mask=True)
    return keras.Model(rows, layers.LayerNormalization()(layers.Add()([rows, seen])))


def words(keras: Any) -> Any:
    """Vocabularies that the file holds."""
    word = keras.Input((1,), dtype="string", name="rows")
    known = keras.layers.StringLookup(vocabulary=["ferry", "river"], output_mode="one_hot")(word)
    return keras.Model(word, keras.layers.Concatenate()([known, known]))


def text(keras: Any) -> Any:
    """A learned vocabulary, stored beside the weights."""
    vectors = keras.layers.TextVectorization(output_sequence_length=4)
    vectors.adapt(np.array(["a ferry", "the river a"]))
    return keras.Sequential(
        [keras.Input((1,), dtype="string", name="rows"), vectors, keras.layers.Embedding(9, 3)]
    )


KERAS_2_MODELS: dict[str, Build] = {
    "convolutions": stack(
        IMAGE,
        lambda layers: layers.DepthwiseConv2D(3, name="stage/depthwise"),
        lambda layers: layers.SeparableConv2D(4, 3),
        lambda layers: layers.Conv2DTranspose(4, 3, strides=2),
        lambda layers: layers.BatchNormalization(),
        lambda layers: layers.ReLU(6.0),
        lambda layers: layers.GlobalAveragePooling2D(),
    ),
    "recurrent": stack(
        SERIES,
        lambda layers: layers.LSTM(4, return_sequences=True),
        lambda layers: layers.GRU(4, reset_after=False, return_sequences=True),
        lambda layers: layers.Bidirectional(layers.SimpleRNN(4, return_sequences=True)),
        lambda layers: layers.TimeDistributed(layers.Dense(2)),
        lambda layers: layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)]),
    ),
    "augmented": stack(
        IMAGE,
        lambda layers: layers.RandomFlip("horizontal"),
        lambda layers: layers.RandomRotation(0.1),
        lambda layers: layers.Rescaling(1 / 127.5, -1),
        lambda layers: layers.Resizing(4, 4),
        lambda layers: layers.Conv2D(2, 3),
    ),
    "activations": stack(
        (4,),
        lambda layers: layers.Dense(4, activation="hard_sigmoid", kernel_regularizer="l2"),
        lambda layers: layers.Dense(4, activation=layers.LeakyReLU(0.1)),
        lambda layers: layers.PReLU(),
        lambda layers: layers.ThresholdedReLU(0.2),
        lambda layers: layers.Dense(3, activation="swish", kernel_constraint="max_norm"),
    ),
    "calls": calls,
    "resized": resized,
    "Teachable Machine": teachable,
    "nested": nested,
    "half": half,
    "several": several,
    "keyed": keyed,
    "attention": attention,
    "words": words,
    "text": text,
}


def built(keras: Any, build: Build) -> Any:
    """Return a model with weights from 0.2 to 1, the same each time."""
    keras.backend.clear_session()
    random = np.random.default_rng(7)
    model = build(keras)
    model.set_weights(
        [
            random.uniform(0.2, 1, each.shape) if each.dtype.kind == "f" else each
            for each in model.get_weights()
        ]
    )
    return model
