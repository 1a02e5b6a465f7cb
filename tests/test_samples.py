"""Sample requests for a signature: server/api/samples.py."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from model.signature import STRING, Signature, TensorSpec, blank_feed
from server.api.json_tensors import arrays_of, parse_request
from server.api.samples import MAX_WRITTEN_NUMBERS, sample_command, sample_feed, sample_request

Shape = tuple[int | None, ...] | None

OUTPUT = TensorSpec("scores", np.dtype(np.float32), (None, 2))
ADDRESS = "http://127.0.0.1:8000/"


def signature(*inputs: TensorSpec, name: str = "serving_default", alone: str = "") -> Signature:
    """Return a signature of these inputs."""
    return Signature(inputs, (OUTPUT,), name, alone)


def tensor(dtype: object, shape: Shape, name: str = "x") -> TensorSpec:
    """Return an input."""
    return TensorSpec(name, np.dtype(dtype), shape)  # type: ignore[call-overload]  # a table's


SMALL = {
    "a row": signature(tensor("float32", (None, 4))),
    "a number a row": signature(tensor("float64", (None,))),
    "open sizes": signature(tensor("int64", (None, None, 2, None))),
    "whole numbers": signature(tensor("uint8", (None, 3))),
    "half precision": signature(tensor("float16", (None, 3))),
    "true or false": signature(tensor("bool", (None, 2))),
    "strings": signature(tensor(STRING, (None, 2))),
    "one string": signature(tensor(STRING, ()), alone="one at a time"),
    "one number": signature(tensor("int32", ()), alone="one at a time"),
    "any shape": signature(tensor("float32", None), alone="one at a time"),
    "a fixed batch": signature(tensor("float32", (3, 2)), alone="one at a time"),
    "rows of nothing": signature(tensor("float32", (None, 0))),
    "no inputs": signature(alone="it has no inputs"),
    "the most that is written": signature(tensor("float32", (None, MAX_WRITTEN_NUMBERS))),
    "several inputs": signature(tensor("float32", (None, 2)), tensor("bool", (None,), "y")),
    "not the default": signature(tensor("float32", (None, 2)), name="regress"),
    "a name with quotes": signature(tensor("float32", (None, 2), """it's "x" \\ $HOME `id`""")),
    "a name in Greek": signature(tensor("float32", (None, 2), "είσοδος😀"), name="Ω"),
    "an input called b64": signature(tensor(STRING, (None,), "b64")),
}

LARGE = {
    "images": signature(tensor("uint8", (None, 299, 299, 3))),
    "one more than is written": signature(tensor("float32", (None, MAX_WRITTEN_NUMBERS + 1))),
    "strings": signature(tensor(STRING, (None, 10, 10))),
    "one of two": signature(tensor("bool", (None, 200)), tensor("int32", (None, 2), "y")),
    "not the default": signature(tensor("float32", (None, 5, 70)), name='the "other\'s"'),
    "a name with quotes": signature(tensor("float32", (None, 100), """it's "x" \\ $HOME `id`""")),
    "a name in Greek": signature(tensor("float32", (None, 100), "είσοδος😀"), name="Ω"),
}


def check_accepted(body: str, signature: Signature) -> None:
    """Check that *body* is a request of one row for *signature*."""
    name, inputs = parse_request(body.encode())
    assert name == (None if signature.name == "serving_default" else signature.name)
    feed = signature.feed(arrays_of(signature, inputs))
    blank = blank_feed(signature)
    assert (feed.rows, feed.key) == (blank.rows, blank.key)


@pytest.mark.parametrize(
    ("signature", "sample"),
    [
        (SMALL["a row"], '{"inputs": {"x": [[0.0, 0.0, 0.0, 0.0]]}}'),
        (SMALL["whole numbers"], '{"inputs": {"x": [[0, 0, 0]]}}'),
        (SMALL["true or false"], '{"inputs": {"x": [[false, false]]}}'),
        (SMALL["strings"], '{"inputs": {"x": [["text", "text"]]}}'),
        (SMALL["one string"], '{"inputs": {"x": "text"}}'),
        (
            SMALL["not the default"],
            '{"inputs": {"x": [[0.0, 0.0]]}, "signature_name": "regress"}',
        ),
        (LARGE["images"], '{"inputs": {"x": "<uint8[?, 299, 299, 3]>"}}'),
        (LARGE["one of two"], '{"inputs": {"x": "<bool[?, 200]>", "y": [[0, 0]]}}'),
    ],
)
def test_a_sample_is_short(signature: Signature, sample: str) -> None:
    """It names a signature only if needed, and replaces many numbers by their shape."""
    assert sample_request(blank_feed(signature, b"text"), "serving_default") == sample


def test_there_is_no_sample_that_would_be_refused() -> None:
    """A reason is returned instead."""
    numbers = SMALL["a row"]
    blank = blank_feed(numbers)
    assert sample_feed(numbers, None, {numbers.name: blank}) is blank
    assert sample_feed(numbers, None, {}) == "the model refused every value that was tried"
    assert sample_feed(numbers, None, None) == "the model was not run"
    refused = sample_feed(signature(tensor("complex64", (None,))), None, {})
    assert refused == "input 'x': complex64 cannot be written as JSON"


@pytest.mark.parametrize(
    "signature",
    [*SMALL.values(), *LARGE.values()],
    ids=[*SMALL, *(f"large: {name}" for name in LARGE)],
)
def test_a_command_posts_a_row(signature: Signature, tmp_path: Path) -> None:
    """The shell passes any name on to curl, which is replaced here by a script that records it."""
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\n[ "$2" = @- ] && cat > body || printf %s "$2" > body\necho "$3"\n')
    curl.chmod(0o755)
    command = sample_command(blank_feed(signature, b"text"), "serving_default", ADDRESS)
    assert len(command) < 1000
    assert command.isprintable()
    ran = subprocess.run(
        ["sh", "-c", f'PATH="{tmp_path}:$PATH"; {command}'],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (ran.stdout, ran.stderr) == (f"{ADDRESS}\n", "")
    check_accepted((tmp_path / "body").read_text(), signature)
