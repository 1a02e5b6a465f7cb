"""Triton's config.pbtxt, and serving.toml beside it: model/repository/serving_files.py."""

from pathlib import Path

import pytest

from model.errors import ModelError
from model.repository.serving_files import EMPTY_SECONDS, Serving, ServingFiles
from model.repository.serving_toml import SERVING_TOML, ServingFacts
from model.repository.triton_config import CONFIG_PBTXT, read_config_pbtxt

FULL = """\
name: "pets"
platform: "tensorflow_savedmodel"
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] label_filename: "labels.txt" } ]
version_policy: { all { } }
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 2500
}
instance_group [ { count: 2 kind: KIND_CPU } ]
optimisation { }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the model pets."""
    folder = tmp_path / "pets"
    folder.mkdir()
    return folder


def write(folder: Path, text: str) -> Path:
    """Write the config.pbtxt; return its path."""
    path = folder / CONFIG_PBTXT
    path.write_text(text)
    return path


def test_versions_rows_and_delay_are_read_and_the_rest_is_noted(folder: Path) -> None:
    """What the files of the model state is not noted."""
    path = write(folder, FULL)
    config = read_config_pbtxt(path)
    assert config.facts == ServingFacts(latest=None, max_batch_size=16, max_queue_delay=0.0025)
    assert [note.removeprefix(f"{path}:") for note in config.notes] == [
        (
            "5: output.label_filename is ignored: labels are read from output_labels.txt or "
            "model.toml in the folder of the version"
        ),
        (
            "8: dynamic_batching.preferred_batch_size is ignored: the sizes of batches are chosen "
            "by measured run times"
        ),
        "11: instance_group is ignored: --device and --lanes state what runs the models",
        "12: optimisation is ignored: no such field is read; did you mean optimization?",
    ]


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", ServingFacts()),
        ("max_batch_size: 0", ServingFacts()),
        ("max_batch_size: 8", ServingFacts(max_batch_size=8)),
        ("max_batch_size: 5000", ServingFacts(max_batch_size=4096)),
        ("dynamic_batching { }", ServingFacts()),
        ("dynamic_batching { max_queue_delay_microseconds: 0 }", ServingFacts(max_queue_delay=0.0)),
        ("version_policy: { latest: { num_versions: 2 } }", ServingFacts(latest=2)),
        ("version_policy { specific { versions: [1, 3] } }",
            ServingFacts(latest=None, versions=(1, 3))),
    ],
)  # fmt: skip
def test_each_field_is_read(folder: Path, text: str, facts: ServingFacts) -> None:
    """A delay that is not stated is learned."""
    assert read_config_pbtxt(write(folder, text)).facts == facts


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("name: 'cars'", " name cars is ignored: the folder is pets"),
        ("platform: 'onnxruntime_onnx'",
            " platform onnxruntime_onnx is ignored: models of TensorFlow are loaded"),
        ("backend: 'python'", " backend python is ignored: models of TensorFlow are loaded"),
        ("max_batch_size: 0",
            " max_batch_size 0 is ignored: a run at load shows if requests share runs"),
        ("max_batch_size: 5000", " max_batch_size 5000 is more than a batch may have: 4096 rows"),
        ("\nensemble_scheduling { step [] }",
            "2: ensemble_scheduling is ignored: a model is served on its own"),
    ],
)  # fmt: skip
def test_a_value_without_effect_is_noted(folder: Path, text: str, note: str) -> None:
    """With the reason."""
    path = write(folder, text)
    assert read_config_pbtxt(path).notes == (f"{path}:{note}",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max_batch_size: -1", "1: max_batch_size: expected a whole number of at least 0, got -1"),
        ("max_batch_size: '8'", "1: max_batch_size: expected a whole number of at least 0, got"),
        ("\nversion_policy { specific { } }", "2: the version policy names no specific version"),
        ("dynamic_batching {\n", "2: expected the name of a field or '}', found the end"),
    ],
)  # fmt: skip
def test_an_error_has_the_file_and_the_line(folder: Path, text: str, problem: str) -> None:
    """And the field, with what is expected."""
    path = write(folder, text)
    with pytest.raises(ModelError) as caught:
        read_config_pbtxt(path)
    assert str(caught.value).startswith(f"{path}:{problem}")


class Files:
    """The files of pets, which are read every 2 seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = ServingFiles()
        self._seconds = 0.0

    def write(self, name: str, text: str | None) -> Serving:
        """Write a file, or remove it; return what the files state at the next read."""
        path = self._folder / name
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        return self.read()

    def read(self) -> Serving:
        """Return what the files state."""
        self._seconds += 2.0
        return self._files.read(self._folder, self._seconds)


def test_serving_toml_has_priority_for_each_of_its_keys(folder: Path) -> None:
    """The other values are those of config.pbtxt."""
    files = Files(folder)
    assert files.read() == Serving()
    files.write(CONFIG_PBTXT, "version_policy { all {} } max_batch_size: 16")
    serving = files.write(SERVING_TOML, "max_batch_size = 4\nweight = 2\n")
    assert serving.facts == ServingFacts(latest=None, max_batch_size=4, weight=2.0)
    serving = files.write(SERVING_TOML, "versions = { latest = 3 }\n")
    assert serving.facts == ServingFacts(latest=3, max_batch_size=16)


def test_a_write_of_either_file_changes_the_stamp(folder: Path) -> None:
    """So that what failed is tried again."""
    files = Files(folder)
    stamps = {
        files.read().stamp,
        files.write(CONFIG_PBTXT, "").stamp,
        files.write(SERVING_TOML, "weight = 2").stamp,
        files.write(CONFIG_PBTXT, "max_batch_size: 4").stamp,
    }
    assert len(stamps) == 4
    assert files.read().stamp in stamps


def test_a_wrong_file_keeps_the_last_correct_contents_of_both(folder: Path) -> None:
    """With the problems of both."""
    files = Files(folder)
    files.write(CONFIG_PBTXT, "max_batch_size: 16")
    files.write(SERVING_TOML, "weight = 2")
    files.write(CONFIG_PBTXT, "max_batch_size")
    serving = files.write(SERVING_TOML, "weight = true")
    assert serving.facts == ServingFacts(max_batch_size=16, weight=2.0)
    first, second = serving.problem.split("; ")
    assert first.startswith("pets/config.pbtxt:1: expected ':'")
    assert second.startswith("pets/serving.toml: weight: expected")
    files.write(SERVING_TOML, "weight = 3")
    serving = files.write(CONFIG_PBTXT, "max_batch_size: 8")
    assert (serving.facts, serving.problem) == (ServingFacts(max_batch_size=8, weight=3.0), "")


def test_a_config_pbtxt_that_is_gone_counts_as_before_for_a_while(folder: Path) -> None:
    """An editor may be about to write it."""
    files = Files(folder)
    files.write(CONFIG_PBTXT, "max_batch_size: 16")
    assert files.write(CONFIG_PBTXT, None).facts.max_batch_size == 16
    assert EMPTY_SECONDS == 4.0
    assert files.read().facts.max_batch_size == 16
    assert files.read().facts.max_batch_size is None
