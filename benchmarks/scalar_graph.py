"""
`python -m benchmarks.scalar_graph FOLDER`: the default model as a graph that takes one JPEG file.

Retraining tutorials write such graphs.  Purpose: compare a server whose model takes one file with a
server whose model, the same network, takes a batch.
"""

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from model.backends.tensorflow.default_model.source import (
    DEFAULT_MODEL,
    GRAPH_FILE,
    DefaultModelUnavailableError,
    ensure_default_model,
)
from model.backends.tensorflow.device import quieten_tensorflow
from model.repository.cache import CacheUnavailableError, user_cache_folder
from model.repository.labels import LABELS_FILE

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

CONTENTS = "DecodeJpeg/contents:0"  #: a scalar string, the JPEG file


def scalar_graph(graph: bytes) -> bytes:
    """
    Return *graph*, the GraphDef of the default model, with a JPEG decoder in front of it.

    Its input is `CONTENTS`; its output keeps its name.  Takes seconds, most of them the import of
    TensorFlow; may run in any thread.
    """
    import tensorflow.compat.v1 as tf  # noqa: PLC0415 - it takes seconds, and must be silenced first

    network = tf.GraphDef.FromString(graph)
    pixels = DEFAULT_MODEL.input_layer.partition(":")[0]
    front = tf.Graph()
    with front.as_default():
        contents = tf.placeholder(tf.string, (), name=CONTENTS.partition(":")[0])
        _image(contents, pixels)
    joined = tf.GraphDef(versions=network.versions)
    joined.node.extend(front.as_graph_def().node)
    # The decoded image has the name of the placeholder, and so replaces it.
    joined.node.extend(node for node in network.node if node.name != pixels)
    data: bytes = joined.SerializeToString(deterministic=True)
    return data


def _image(contents: "tf.Tensor", name: str) -> "tf.Tensor":
    """
    Return the middle of the JPEG file *contents*: uint8 [1, image_size, image_size, 3].

    *name* is the name of the tensor.
    """
    import tensorflow.compat.v1 as tf  # noqa: PLC0415 - it takes seconds, and must be silenced first

    image = tf.image.decode_jpeg(contents, channels=3, name="DecodeJpeg")
    sides = tf.shape(image)[:2]
    shorter = tf.cast(tf.reduce_min(sides), tf.float32)
    side = tf.cast(tf.round(shorter * DEFAULT_MODEL.crop_fraction), tf.int32)
    corner = (sides - side) // 2
    middle = tf.slice(image, tf.concat([corner, [0]], 0), tf.stack([side, side, 3]))
    rows = tf.expand_dims(tf.cast(middle, tf.float32), 0, name="ExpandDims")
    resized = tf.raw_ops.ResizeBicubic(
        images=rows, size=[DEFAULT_MODEL.image_size] * 2, half_pixel_centers=True
    )
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8, name=name)


def write_scalar_graph(folder: Path) -> tuple[Path, Path]:
    """
    Write the graph and its labels into *folder*, and return the paths of both files.

    Raises DefaultModelUnavailableError or CacheUnavailableError.
    """
    on_progress = partial(click.echo, err=True)
    model = ensure_default_model(user_cache_folder(), on_progress).path
    folder.mkdir(parents=True, exist_ok=True)
    graph, labels = folder / GRAPH_FILE, folder / LABELS_FILE
    graph.write_bytes(scalar_graph((model / GRAPH_FILE).read_bytes()))
    shutil.copyfile(model / LABELS_FILE, labels)
    return graph, labels


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write output_graph.pb and output_labels.txt into FOLDER."""
    quieten_tensorflow("cpu")
    try:
        graph, labels = write_scalar_graph(folder)
    except (DefaultModelUnavailableError, CacheUnavailableError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"tensorferry serve --graph {graph} --labels {labels}")


if __name__ == "__main__":
    main()
