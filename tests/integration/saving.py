"""Writing SavedModels for tests: with TensorFlow 1 or 2, and with changes afterwards."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: Writes a SavedModel into a folder that does not exist yet.
Write = Callable[[Path], object]
Tensors = Mapping[str, Any]
#: The inputs and outputs of one signature.
Ends = tuple[Tensors, Tensors]


def save_functions(
    folder: Path, functions: Mapping[str, tuple[Callable[..., Tensors], Tensors]], **kept: object
) -> None:
    """
    Write a SavedModel of TensorFlow 2: by signature, a function and the specs of its arguments.

    The module holds *kept*: the variables or tables that the functions use.
    """
    import tensorflow as tf

    module = tf.Module()
    for name, each in kept.items():
        setattr(module, name, each)
    signatures = {
        name: tf.function(function).get_concrete_function(
            **{key: tf.TensorSpec(shape, dtype, key) for key, (dtype, shape) in specs.items()}
        )
        for name, (function, specs) in functions.items()
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


def tf2(function: Callable[..., Tensors], **specs: tuple[str, object]) -> Write:
    """Return a writer of a SavedModel of TensorFlow 2; *function* takes `tf` and the inputs."""

    def write(folder: Path) -> None:
        import tensorflow as tf

        def call(**inputs: object) -> Tensors:
            return function(tf, **inputs)

        save_functions(folder, {"serving_default": (call, specs)})

    return write


def tf1(build: Callable[[Any], Mapping[str, Ends]], **options: Any) -> Write:
    """
    Return a function that writes a SavedModel of TensorFlow 1.

    *build* makes a graph with `tensorflow.compat.v1` and returns the ends of each signature; the
    options are `add_meta_graph_and_variables`'s, and its init op is `tables_initializer`.
    """

    def write(folder: Path) -> None:
        import tensorflow.compat.v1 as tf

        with tf.Session(graph=tf.Graph()) as session:
            ends = build(tf)
            session.run((tf.global_variables_initializer(), tf.tables_initializer()))
            builder = tf.saved_model.Builder(str(folder))
            given = {"tags": ["serve"], "main_op": tf.tables_initializer(), **options}
            builder.add_meta_graph_and_variables(
                session,
                signature_def_map={name: definition(tf, *each) for name, each in ends.items()},
                assets_collection=tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS),
                **given,
            )
            builder.save()

    return write


def definition(tf: Any, inputs: Tensors, outputs: Tensors) -> Any:
    """Return the SignatureDef with these ends."""
    infos = [
        {name: tf.saved_model.build_tensor_info(tensor) for name, tensor in ends.items()}
        for ends in (inputs, outputs)
    ]
    return tf.saved_model.build_signature_def(*infos, "tensorflow/serving/predict")


def changed(write: Write, change: Callable[[Any], object]) -> Write:
    """Return a function that writes the SavedModel and then makes a *change* to its first graph."""

    def write_changed(folder: Path) -> None:
        write(folder)
        edit(folder, change)

    return write_changed


def edit(folder: Path, change: Callable[[Any], object]) -> None:
    """Make a *change* to the first graph of the SavedModel in *folder*."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = folder / "saved_model.pb"
    saved_model = SavedModel.FromString(path.read_bytes())
    change(saved_model.meta_graphs[0])
    path.write_bytes(saved_model.SerializeToString())
