"""
Write the graph as SavedModels that take JPEG files, for servers in containers.

export.py GRAPH FOLDER.  Runs in the client's virtualenv.  FOLDER/serving has the model and the
configuration for TensorFlow Serving, FOLDER/triton those for Triton.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

SIDE = 224

BATCHING = """\
max_batch_size { value: 32 }
batch_timeout_micros { value: 5000 }
num_batch_threads { value: CORES }
max_enqueued_batches { value: 100 }
"""

TRITON = """\
platform: "tensorflow_savedmodel"
max_batch_size: 32
input [ { name: "body" data_type: TYPE_STRING dims: [ 1 ] reshape: { shape: [ ] } } ]
output [
  { name: "answer" data_type: TYPE_INT32 dims: [ 5 ] },
  { name: "scores" data_type: TYPE_FP32 dims: [ 5 ] }
]
instance_group [ { kind: KIND_CPU count: CORES } ]
dynamic_batching {
  max_queue_delay_microseconds: 5000
  default_queue_policy {
    default_timeout_microseconds: TIMEOUT
    max_queue_size: SIZE
  }
}
"""


def with_decoding(graph: bytes) -> tf.Module:
    """
    Return a module that decodes JPEG files, runs *graph*, and returns the five best classes.

    The input is `body`, strings [rows]; the outputs are `answer`, the classes, int32 [rows, 5], and
    `scores`, float32 [rows, 5].
    """
    definition = tf.compat.v1.GraphDef.FromString(graph)

    def imported(images: tf.Tensor) -> tf.Tensor:
        (scores,) = tf.graph_util.import_graph_def(
            definition, input_map={"images:0": images}, return_elements=["scores:0"], name=""
        )
        return scores

    net = tf.compat.v1.wrap_function(imported, [tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32)])

    def read(file: tf.Tensor) -> tf.Tensor:
        image = tf.image.resize(tf.io.decode_jpeg(file, channels=3), [SIDE, SIDE], antialias=True)
        return image / 127.5 - 1

    module = tf.Module()
    module.net = net

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="body")])
    def answer(body: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(read, body, fn_output_signature=tf.float32)
        images.set_shape([None, SIDE, SIDE, 3])
        scores, classes = tf.math.top_k(net(images), 5)
        return {"answer": classes, "scores": scores}

    module.answer = answer
    return module


def main(graph: Path, folder: Path) -> None:
    """Write *folder*/serving and *folder*/triton from *graph*."""
    module = with_decoding(graph.read_bytes())
    cores = str(os.cpu_count())
    timeout = str(int(float(os.environ.get("QUEUE_TIMEOUT_MS", "0")) * 1000))
    for model in (folder / "serving/net/1", folder / "triton/net/1/model.savedmodel"):
        tf.saved_model.save(module, str(model), signatures=module.answer)
    (folder / "serving/batching.txt").write_text(BATCHING.replace("CORES", cores))
    size = os.environ.get("QUEUE_SIZE", "0")
    config = TRITON.replace("CORES", cores).replace("TIMEOUT", timeout).replace("SIZE", size)
    (folder / "triton/net/config.pbtxt").write_text(config)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
