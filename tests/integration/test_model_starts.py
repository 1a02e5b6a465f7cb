"""The messages about a model at load: why it is refused, what is not served, and risks."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from twisted.internet.threads import deferToThread

from scripts.inspect_model import inspect_model
from server.settings.sources import resolve
from server.settings.table import Settings
from tests.fakes.server import Log
from tests.integration.clients import get, post
from tests.integration.keras_models import KERAS_WARNINGS, with_lambda, written
from tests.integration.saved_model_graphs import (
    colour_means,
    write_affine,
    write_several_signatures,
)
from tests.integration.saving import Ends, Tensors, Write, tf1, tf2
from tests.integration.tensors import Json, assert_outputs, request_body
from tests.integration.watched import StartFailed, in_reactor, watched_server

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("log"), *KERAS_WARNINGS]

# --- refused models


def resolved(**given: str) -> Settings:
    """Return the settings that a command line gives."""
    return resolve({name.replace("-", "_"): value for name, value in given.items()}, {}).settings


def empty(model: Path) -> None:
    """Make an empty folder."""
    model.mkdir()


def with_toml(write: Write, text: str) -> Write:
    """Return a function that writes a model, and a model.toml into its folder."""

    def write_both(model: Path) -> None:
        write(model)
        (model / "model.toml").write_text(text)

    return write_both


def with_keras_lambda(model: Path) -> None:
    """Make a folder with a Keras file that holds Python code."""
    model.mkdir()
    written(with_lambda, model / "m.keras")


IMAGES = tf2(colour_means, image=("float32", (None, 4, 5, 3)))
#: A function that writes the model, the options, and the message; "..." stands for any text.
REFUSED: dict[str, tuple[Write, dict[str, str], str]] = {
    "an empty folder": (
        empty,
        {},
        "{model}: holds no model; expected ..., found nothing",
    ),
    "a signature with a near name": (
        write_several_signatures,
        {"signature": "sum"},
        "no signature 'sum'; similar names: sums",
    ),
    "a signature like no other": (
        write_several_signatures,
        {"signature": "zzz"},
        "no signature 'zzz'; similar names: serving_default, sums",
    ),
    "an unknown input": (
        write_affine,
        {"input-layer": "images"},
        "signature 'serving_default' has no input 'images'; it has x",
    ),
    "labels of another number": (
        IMAGES,
        {"labels": "{two}"},
        "{model}: 'scores' gives [1, 3] for 1 row, but the number of labels is 2: expected [1, 2]",
    ),
    "labels that are not there": (
        with_toml(IMAGES, 'labels = "no.txt"'),
        {},
        "{model}/no.txt: No such file or directory",
    ),
    "Python code in Keras": (
        with_keras_lambda,
        {},
        "{model}/m.keras: layer 'sly' holds Python code (Lambda), which is not run",
    ),
}


@pytest.mark.parametrize(("write", "given", "reason"), list(REFUSED.values()), ids=list(REFUSED))
@in_reactor
async def test_a_model_that_cannot_be_served_is_refused_in_one_line(
    tmp_path: Path, write: Write, given: Mapping[str, str], reason: str
) -> None:
    """By the server, which then ends, and by inspect."""
    model, two = tmp_path / "model", tmp_path / "two.txt"
    write(model)
    two.write_text("cat\ndog\n")
    options = {name: value.format(two=two) for name, value in given.items()}
    line = re.escape(reason.format(model=model)).replace(r"\.\.\.", ".+")
    with pytest.raises(StartFailed) as caught:
        async with watched_server(resolved(model=str(model), port="0", **options), tmp_path):
            pass
    assert re.fullmatch(line, str(caught.value))
    flags = [f"--{name}={value}" for name, value in options.items()]
    result = CliRunner().invoke(inspect_model, [str(model), *flags])
    assert (result.exit_code, result.output) == (1, f"Error: {caught.value}\n")


# --- signatures that are not served, and risks


def spectrum_beside(tf: Any) -> Mapping[str, Ends]:
    """A signature with a dtype that requests do not support, beside a good one."""
    x = tf.placeholder(tf.float32, (None, 2))
    return {
        "serving_default": ({"x": x}, {"y": x * 2}),
        "spectrum": ({"x": x}, {"y": tf.cast(x, tf.complex64)}),
    }


@in_reactor
async def test_a_signature_that_cannot_be_served_is_reported_and_the_others_are_served(
    tmp_path: Path, log: Log
) -> None:
    """The log and inspect state the reason; a request for it is answered with the known names."""
    model = tmp_path / "model"
    tf1(spectrum_beside)(model)
    reason = "signature spectrum is not served: output 'y' is complex64, not supported in requests"
    async with watched_server(Settings(port=0, model=model), tmp_path) as watched:
        assert log.lines().count(reason) == 1
        good = request_body({"x": [[1.0, 2.0]]})
        answer = await deferToThread(post, watched.port, good)
        assert_outputs(answer.body, {"y": np.array([[2, 4]], np.float32)})
        wrong = request_body({"x": [[1.0, 2.0]]}, "spectrum")
        answer = await deferToThread(post, watched.port, wrong)
        message = "unknown signature 'spectrum': the model has serving_default"
        assert (answer.status, answer.error) == (400, message)
    shown = inspected(model)
    assert (shown["notes"], list(shown["signatures"])) == ([reason], ["serving_default"])


def inspected(model: Path) -> Json:
    """Return the JSON object that inspect prints."""
    result = CliRunner().invoke(inspect_model, [str(model), "--json"])
    assert result.exit_code == 0, result.output
    return orjson.loads(result.stdout)


@in_reactor
async def test_a_model_that_writes_files_is_only_read_by_inspect(tmp_path: Path, log: Log) -> None:
    """A server logs a warning, and runs the model."""
    model, written_file = tmp_path / "model", tmp_path / "written"

    def write_and_double(tf: Any, x: Any) -> Tensors:
        with tf.control_dependencies([tf.io.write_file(str(written_file), "x")]):
            return {"y": x * 2}

    tf2(write_and_double, x=("float32", [None]))(model)
    shown = inspected(model)
    assert not written_file.exists()
    assert not shown["loaded"]
    careful, unread = shown["notes"]
    assert careful.startswith(
        "warning: the model may read or write files, run Python or contact other "
        "machines: WriteFile ("
    )
    assert unread == "the model was read, but neither loaded nor run"
    async with watched_server(Settings(port=0, model=model), tmp_path) as watched:
        assert log.lines().count(careful) == 1
        status = orjson.loads((await deferToThread(get, watched.port, "/status")).body)
        for facts in status["signatures"].values():
            del facts["max_batch_size"], facts["sample"]
        for facts in shown["signatures"].values():
            assert facts.pop("no_sample") == "the model was not run"
        assert status["signatures"] == shown["signatures"]
        answer = await deferToThread(post, watched.port, request_body({"x": [1.0]}))
        assert_outputs(answer.body, {"y": np.array([2], np.float32)})
    assert written_file.read_text() == "x"


@pytest.mark.parametrize("given", [{"signature": "sums"}, {}], ids=["option", "model.toml"])
@in_reactor
async def test_the_signature_of_requests_that_name_none_can_be_chosen(
    tmp_path: Path, given: dict[str, str]
) -> None:
    """By model.toml, or by an option, which has priority."""
    model = tmp_path / "model"
    write_several_signatures(model)
    inside = "serving_default" if given else "sums"
    (model / "model.toml").write_text(f'signature = "{inside}"')
    async with watched_server(resolved(model=str(model), port="0", **given), tmp_path) as watched:
        answer = await deferToThread(post, watched.port, request_body([[1.0, 2.0]]))
        assert_outputs(answer.body, {"sum": np.array([3], np.float32)})
        named = request_body([[1.0, 2.0]], "serving_default")
        answer = await deferToThread(post, watched.port, named)
        assert_outputs(answer.body, {"y": np.array([[3, 6]], np.float32)})
