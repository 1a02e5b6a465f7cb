"""
The model that every server runs, and the decoding of a body.

PEER_MODEL=null answers the length of a body; PEER_MODEL=net runs the frozen graph, and
PEER_MODEL=table the Keras file PEER_TABLE on a row of numbers in JSON.  A server calls
decode(body) for each request and predict(items) for each batch, in the places that its own
documentation recommends.
"""

import io
import json
import os

KIND = os.environ.get("PEER_MODEL", "null")
PORT = int(os.environ.get("PEER_PORT", "8000"))
BATCH = int(os.environ.get("PEER_BATCH", "32"))
WAIT_MS = float(os.environ.get("PEER_WAIT_MS", "5"))
WORKERS = int(os.environ.get("PEER_WORKERS", "1"))
DECODERS = int(os.environ.get("PEER_DECODERS", "2"))
LIMIT = int(os.environ.get("PEER_LIMIT", "0"))  # of load shedding, in workload C only; 0: off
TIMEOUT_MS = float(os.environ.get("PEER_TIMEOUT_MS", "0"))  # the same
INLINE = os.environ.get("PEER_INLINE", "0" if KIND == "net" else "1") == "1"  # runs on the loop
SIDE = 224
TENSOR_BYTES = SIDE * SIDE * 3 * 4


def read(body):
    """Return a float32 image from the bytes of a JPEG file or of 224*224*3 raw float32 numbers."""
    import numpy as np

    if len(body) == TENSOR_BYTES:
        return np.frombuffer(body, np.float32).reshape(SIDE, SIDE, 3)
    from PIL import Image

    image = Image.open(io.BytesIO(body))
    image.draft("RGB", (SIDE, SIDE))
    image = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32) / 127.5 - 1


def top5(scores):
    """Return the answer for one row of scores: JSON with the five best classes."""
    import numpy as np

    best = np.argpartition(scores, -5)[-5:]
    best = best[np.argsort(-scores[best])]
    return b'{"classes":[%s],"scores":[%s]}' % (
        ",".join(map(str, best)).encode(),
        ",".join(f"{score:.6f}" for score in scores[best]).encode(),
    )


def load_net(intra=None, inter=None):
    """
    Return a function that runs a list of images as one batch and returns a list of answers.

    *intra* and *inter* are TensorFlow's numbers of threads.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np
    import tensorflow as tf

    v1 = tf.compat.v1
    graph_def = v1.GraphDef()
    with open(os.environ["PEER_GRAPH"], "rb") as file:
        graph_def.ParseFromString(file.read())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    config = v1.ConfigProto(
        intra_op_parallelism_threads=intra or int(os.environ.get("PEER_INTRA", "2")),
        inter_op_parallelism_threads=inter or int(os.environ.get("PEER_INTER", "2")),
    )
    session = v1.Session(graph=graph, config=config)
    run = session.make_callable("scores:0", feed_list=["images:0"])

    def predict(items):
        return [top5(row) for row in run(np.stack(items))]

    for rows in (1, 2, 4, 8, 16, 32):
        predict([np.zeros((SIDE, SIDE, 3), np.float32)] * rows)
    return predict


def load_table():
    """Return a function that runs a list of rows as one batch and returns a list of answers."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np
    import tensorflow as tf

    model = tf.keras.models.load_model(os.environ["PEER_TABLE"])
    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    run = tf.function(lambda rows: model(rows, training=False), input_signature=[spec])
    run = run.get_concrete_function()

    def predict(items):
        scores = run(tf.constant(np.concatenate(items))).numpy()
        return [json.dumps({"outputs": [row]}).encode() for row in scores.tolist()]

    return predict


def read_row(body):
    """Return a float32 array of one row from {"inputs": [[...]]}."""
    import numpy as np

    return np.array(json.loads(body)["inputs"], np.float32)


def null_predict(items):
    """Return, for each item, the answer of the null model: its length."""
    return [b'{"n":%d}' % len(item) for item in items]


def load():
    """Return the predict function of PEER_MODEL."""
    return {"net": load_net, "table": load_table}.get(KIND, lambda: null_predict)()


def decode(body):
    """Return *body* as an item for the predict function."""
    if KIND == "table":
        return read_row(body)
    return read(body) if KIND == "net" else body
