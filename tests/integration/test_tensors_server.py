"""A folder with a frozen graph of numbers and a model.toml, served by the command."""

import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import orjson

from model.signature import Signature, TensorSpec, blank_feed
from server.api.samples import sample_command
from tests.integration.clients import get, post
from tests.integration.graphs import SCORES, Graphs
from tests.integration.servers import serving

MODEL_TOML = """
name = "sums"
version = 3
input = "x:0"
output = "final_result"
"""


def sums_and_logarithms(tf: ModuleType) -> None:
    """Make a graph that returns the sum of each row, and the logarithm of its first number."""
    rows = tf.placeholder(tf.float32, (None, 4), name="x")
    columns = [tf.reduce_sum(rows, axis=1), tf.log(rows[:, 0])]
    tf.stack(columns, axis=1, name=SCORES)


def test_rows_of_numbers_are_answered(tmp_path: Path) -> None:
    """In batches of at most four rows; and so is the command of a sample, short or computed."""
    Graphs(tmp_path).write(sums_and_logarithms)
    (tmp_path / "model.toml").write_text(MODEL_TOML)
    options = ("--model", ".", "--lanes", "1", "--max-batch-size", "4")
    with serving(*options, cache_home=tmp_path, folder=tmp_path) as server:
        body = {"inputs": [[row, 0, 0, 1] for row in range(10)]}
        answer = post(server.port, orjson.dumps(body))
        rows = orjson.loads(answer.body)["outputs"][SCORES]
        assert [row[0] for row in rows] == list(range(1, 11))
        assert rows[0][1] is None
        assert [(batch.rows, batch.cap) for batch in answer.batches] == [(4, 4), (4, 4), (2, 4)]
        assert answer.headers["x-model-version"] == "sums/3"
        sample = orjson.loads(get(server.port, "/status").body)["signatures"]["serving_default"]
        assert orjson.loads(post(server.port, sample["sample"].encode()).body) == {
            "outputs": {SCORES: [[0, None]]}
        }
        shown = []
        for columns in (4, 400):
            x = TensorSpec("x", np.dtype(np.float32), (None, columns))
            url = f"http://127.0.0.1:{server.port}/"
            command = sample_command(blank_feed(Signature((x,), ())), "serving_default", url)
            ran = subprocess.run(
                ["sh", "-c", command], cwd=tmp_path, capture_output=True, check=True, timeout=60
            )
            shown.append(orjson.loads(ran.stdout))
    assert shown[0] == {"outputs": {SCORES: [[0, None]]}}
    assert shown[1]["error"] == "input 'x': expected float32[?, 4], got float32[1, 400]"
