"""The files of TensorFlow Serving: model/repository/tf_serving_config.py."""

from pathlib import Path

import pytest

from model.errors import ModelError
from model.repository.serving_toml import ServingFacts
from model.repository.tf_serving_config import (
    BatchingParameters,
    read_batching_parameters,
    read_model_config,
)

FULL = """\
# Three models.
model_config_list: {
  config: {
    name: "half_plus_two",
    base_path: '/models/'  'half_plus_two'
    model_platform: "tensorflow"
    model_version_policy: { specific { versions: 42 versions: [7, 43] } }
    version_labels { key: "stable" value: 42 }
    version_labels <key: "canary"; value: 43>
  }
  config {
    name: "every" base_path: "here/every" model_type: TENSORFLOW
    model_version_policy { all {} }
    logging_config { sampling_config { sampling_rate: 0.1 } }
  }
  config { name: "plain" base_path: "/models/plain" }
}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file that does not exist yet."""
    return tmp_path / "models.config"


def test_every_field_of_a_model_is_read(path: Path) -> None:
    """A relative path starts from the folder of the file."""
    path.write_text(FULL)
    models = read_model_config(path)
    assert {name: (it.base_path, it.facts) for name, it in models.items()} == {
        "half_plus_two": (
            Path("/models/half_plus_two"),
            ServingFacts(latest=None, versions=(7, 42, 43), labels={"stable": 42, "canary": 43}),
        ),
        "every": (path.parent / "here/every", ServingFacts(latest=None)),
        "plain": (Path("/models/plain"), ServingFacts()),
    }


def test_what_is_ignored_is_noted_at_its_model(path: Path) -> None:
    """With file, line, field and reason."""
    path.write_text(FULL)
    notes = {name: it.notes for name, it in read_model_config(path).items() if it.notes}
    field = "model_config_list.config.logging_config"
    assert notes == {"every": (f"{path}:14: {field} is ignored: requests are not recorded",)}


@pytest.mark.parametrize(
    ("policy", "facts"),
    [
        ("", ServingFacts()),
        ("latest {}", ServingFacts()),
        ("latest { num_versions: 0 }", ServingFacts()),
        ("latest { num_versions: 3 }", ServingFacts(latest=3)),
        ("all: {}", ServingFacts(latest=None)),
        ("specific { versions: [3, 1, 3] }", ServingFacts(latest=None, versions=(1, 3))),
    ],
)
def test_each_version_policy_is_read(path: Path, policy: str, facts: ServingFacts) -> None:
    """Without one, the newest version is served."""
    path.write_text(one(f"model_version_policy {{ {policy} }}"))
    assert read_model_config(path)["a"].facts == facts


def one(more: str = "", name: str = "a", base_path: str = "/a") -> str:
    """Return a file with one model."""
    return (
        f'model_config_list {{\n config {{\n  name: "{name}"\n  base_path: "{base_path}"\n'
        f"  {more}\n }}\n}}\n"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (one("base_pth: 'x'"),
            "5: no such field: model_config_list.config.base_pth; did you mean base_path?"),
        ("model_config { }", "1: no such field: model_config; did you mean model_config_list?"),
        ("custom_model_config { }", "1: no such field: custom_model_config; did you mean"),
        ("model_config_list {\n config { name: 'a' }\n}", "2: a config without base_path"),
        ("model_config_list {\n config { base_path: 'a' }\n}", "2: a config without name"),
        ("model_config_list: 3", "1: model_config_list: expected {...}, got 3"),
        (one() + "model_config_list { }", "8: model_config_list is given twice"),
        (one(" } config { name: 'a' base_path: 'b'"), "5: a second model called a"),
        (one("name: 'b'"), "5: model_config_list.config.name is given twice"),
        (one(name="a b"), ("3: model_config_list.config.name: expected a name of letters, "
            "digits, '.', '_' and '-', got 'a b'")),
        (one(base_path="gs://bucket/a"), ("4: model_config_list.config.base_path: expected "
            "the path of a local folder, got 'gs://bucket/a'")),
        (one(base_path=""), "4: model_config_list.config.base_path: expected the path"),
        (one("model_platform: 'onnx'"),
            "5: model_config_list.config.model_platform: expected \"tensorflow\", got 'onnx'"),
        (one("model_type: OTHER"), "5: model_config_list.config.model_type: expected TENSORFLOW"),
        (one("model_version_policy { specific {} }"),
            "2: the version policy names no specific version"),
        (one("model_version_policy { all {} latest {} }"),
            "2: the version policy states all and latest: give one"),
        (one("model_version_policy { specific { versions: -1 } }"), ("5: model_config_list.config."
            "model_version_policy.specific.versions: expected a whole number from 0 to ")),
        (one("model_version_policy { specific { versions: 1.0 } }"), ("5: model_config_list.config."
            "model_version_policy.specific.versions: expected a whole number from 0 to ")),
        (one("version_labels { key: 'a/b' value: 1 }"),
            "5: model_config_list.config.version_labels.key: expected a label of letters"),
        (one("version_labels { value: 1 }"), "5: a version label without key"),
        (one("version_labels { key: stable }"), "5: model_config_list.config.version_labels.key: "),
        ("model_config_list {\n config {\n name: 'a'", "3: expected the name of a field or '}'"),
    ],
)  # fmt: skip
def test_an_error_has_the_file_and_the_line(path: Path, text: str, problem: str) -> None:
    """And the field, with what is expected."""
    path.write_text(text)
    assert refusal(path).startswith(f"{path}:{problem}")


def refusal(path: Path) -> str:
    """Return the error for the file at *path*."""
    with pytest.raises(ModelError) as caught:
        read_model_config(path)
    line = str(caught.value)
    assert line.isprintable()
    return line


def test_a_file_that_cannot_be_read_is_refused(path: Path) -> None:
    """It is absent, binary or too large."""
    assert refusal(path) == f"{path}: No such file or directory"
    path.write_bytes(b"# \xff")
    assert refusal(path) == f"{path}: not UTF-8 text: byte 2"
    path.write_bytes(b" " * (4 * 2**20 + 1))
    assert refusal(path) == f"{path}: has more than 4194304 bytes"


@pytest.mark.parametrize(
    ("text", "rows", "micros"),
    [
        ("", None, None),
        ("max_batch_size { value: 128 }\nbatch_timeout_micros { value: 1000 }", 128, 1000),
        ("max_batch_size { value: 128 } max_execution_batch_size { value: 32 }", 32, None),
        ("batch_timeout_micros { }", None, 0),
    ],
)
def test_the_rows_and_the_delay_of_batches_are_read(
    path: Path, text: str, rows: int | None, micros: int | None
) -> None:
    """A wrapped number without a value is 0."""
    path.write_text(text)
    assert read_batching_parameters(path) == BatchingParameters(rows, micros, ())


def test_other_batching_parameters_are_noted(path: Path) -> None:
    """A list once."""
    path.write_text("allowed_batch_sizes: [1, 8]\nnum_batch_threads { value: 4 }\n")
    assert read_batching_parameters(path).notes == (
        f"{path}:1: allowed_batch_sizes is ignored: a batch of any size up to the largest may run",
        f"{path}:2: num_batch_threads is ignored: --lanes states the threads that run batches",
    )


def test_a_wrong_batching_parameter_is_refused(path: Path) -> None:
    """The value is in a message of its own."""
    path.write_text("\nmax_batch_size: 128")
    with pytest.raises(ModelError, match=r":2: max_batch_size: expected \{\.\.\.\}, got 128$"):
        read_batching_parameters(path)
