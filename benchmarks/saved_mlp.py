"""
`python -m benchmarks.saved_mlp PATH...`: write SavedModels whose answers show their version.

Each PATH ends in the version, a whole number.  A row of `INPUTS` floats is answered with a number
that differs from the version by less than 0.1.  A golden.jsonl beside each model has one request.
"""

import json
from itertools import pairwise
from pathlib import Path

import click

from model.backends.tensorflow.device import quieten_tensorflow

INPUTS = 256  #: floats of a row

#: The JSON body of a request of one row.
BODY = json.dumps({"inputs": [[round(at / INPUTS, 3) for at in range(INPUTS)]]})


def save(folder: Path, width: int) -> None:
    """
    Write a model of about 5 * *width* ** 2 bytes to *folder*, whose name is the version.

    Takes seconds, most of them the import of TensorFlow.
    """
    import tensorflow as tf  # noqa: PLC0415 - it takes seconds, and must be silenced first

    version = int(folder.name)
    sizes = (INPUTS, width, width, width // 4, 1)
    module = tf.Module()
    module.version = tf.Variable(float(version))
    module.layers = [
        tf.Variable(tf.random.stateless_normal(shape, (version, at)) / shape[0] ** 0.5)
        for at, shape in enumerate(pairwise(sizes))
    ]

    def answer(x: tf.Tensor) -> dict[str, tf.Tensor]:
        for layer in module.layers:
            x = tf.tanh(x @ layer)
        return {"y": module.version + 0.09 * x[:, 0]}

    spec = tf.TensorSpec((None, INPUTS), tf.float32, name="x")
    module.answer = tf.function(answer, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=module.answer)
    write_golden(folder, float(version))


def write_golden(folder: Path, expected: float) -> None:
    """Write a golden.jsonl to *folder* that expects the answer *expected*, to a tenth."""
    golden = {
        "request": json.loads(BODY),
        "expected": {"outputs": {"y": [expected]}},
        "tolerance": 0.1 / max(1.0, expected),
    }
    (folder / "golden.jsonl").write_text(json.dumps(golden) + "\n")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--width", default=2048, show_default=True, help="Of the widest layer.")
@click.option("--wider", default=0, help="How much wider each model is than the one before.")
def main(paths: tuple[Path, ...], width: int, wider: int) -> None:
    """Write a model to each path."""
    quieten_tensorflow("cpu")
    for at, path in enumerate(paths):
        save(path, width + at * wider)


if __name__ == "__main__":
    main()
