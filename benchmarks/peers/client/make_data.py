"""
Make the data of a comparison: the models, a payload for each of them, and the answers.

make_data.py FOLDER.  Runs in the client's virtualenv, with servers/ on PYTHONPATH.  The graph is
MobileNetV2, and the model of tables a Keras file of three layers; both have random weights, which a
fixed seed determines.
"""

import json
import math
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import served_model
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

SIDE = served_model.SIDE
COLUMNS = 30  #: numbers of a row of the table
QUALITY = 90  #: JPEG's, as phones and web pages have it


def make_photo() -> Image.Image:
    """Return a photo of 500 x 375 pixels."""
    samples = load_sample_images()
    pairs = zip(samples.filenames, samples.images, strict=True)
    china = next(pixels for name, pixels in pairs if "china" in name)
    return Image.fromarray(china[:, :569]).resize((500, 375), Image.Resampling.LANCZOS)


def make_graph(photo: Image.Image) -> bytes:
    """
    Return a frozen graph from images:0, float32 [n, 224, 224, 3], to scores:0.

    Crops of *photo* set the statistics of the batch normalisation.
    """
    tf.keras.utils.set_random_seed(0)
    net = tf.keras.applications.MobileNetV2(weights=None)
    # Scores of random weights are all alike.  Settle the normalisation on crops of the photo and
    # sharpen the last layer, so that there are five best classes to check.
    crops = np.stack(
        [
            np.asarray(photo.crop((left, left, left + SIDE, left + SIDE)), np.float32) / 127.5 - 1
            for left in range(0, 151, 10)
        ]
    )
    for layer in net.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.0
    net(crops, training=True)
    kernel, bias = net.layers[-1].get_weights()
    net.layers[-1].set_weights([kernel * 10, bias])
    spec = tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32, name="images")
    function = tf.function(lambda images: tf.identity(net(images, training=False), name="scores"))
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(spec))
    data: bytes = frozen.graph.as_graph_def().SerializeToString()
    return data


def write_table(folder: Path) -> None:
    """Write the model of tables, a row of numbers and the answer to the row."""
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.Sequential(
        [
            tf.keras.Input((COLUMNS,), name="row"),
            tf.keras.layers.Dense(64, activation="relu"),
            tf.keras.layers.Dense(32, activation="relu"),
            tf.keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.save(folder / "table.keras")
    row = [round(math.sin(column), 4) for column in range(COLUMNS)]
    (folder / "row.json").write_text(json.dumps(row))
    scores = model(np.array([row], np.float32)).numpy()
    (folder / "row_answer.json").write_text(json.dumps(scores[0].tolist()))


def main(folder: Path) -> None:
    """Write the files of all data into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder)
    photo = make_photo()
    photo.save(folder / "photo.jpg", quality=QUALITY)
    (folder / "graph.pb").write_bytes(make_graph(photo))
    image = served_model.read((folder / "photo.jpg").read_bytes())
    (folder / "tensor.bin").write_bytes(np.ascontiguousarray(image, np.float32).tobytes())
    (folder / "small.bin").write_bytes(bytes(range(256)) * 4)
    os.environ["PEER_GRAPH"] = str(folder / "graph.pb")
    (answer,) = served_model.load_net()([image])
    (folder / "answer.json").write_bytes(answer)
    print(answer.decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
