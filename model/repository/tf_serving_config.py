"""
Read the files of TensorFlow Serving: the model config file, and the batching parameters file.

A field that neither server knows is an error; one that has no counterpart is ignored, with a note.
"""

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from model.repository.policy_message import VERSION_POLICY, versions_of
from model.repository.serving_toml import MAX_VERSION, ServingFacts
from model.repository.text_fields import (
    LINE,
    TEXT,
    Fields,
    Ignored,
    Inner,
    One,
    TextFile,
    read_text_file,
    refined,
    whole,
)
from model.repository.text_format import Value, Word
from model.repository.toml_keys import NAME_CHARACTERS, check, segment


def _read_base_path(text: str) -> Path:
    check(text.strip() and "://" not in text)
    return Path(text)


def _read_platform(text: str) -> str:
    check(text in ("", "tensorflow"))
    return text


def _read_type(value: Value) -> str:
    check(value in (Word("TENSORFLOW"), Word("MODEL_TYPE_UNSPECIFIED"), 0, 1))
    return "tensorflow"


_LABEL: Fields = {
    "key": refined(f"a label of {NAME_CHARACTERS}", TEXT, segment),
    "value": whole(0, MAX_VERSION),
}
_MODEL: Fields = {
    "name": refined(f"a name of {NAME_CHARACTERS}", TEXT, segment),
    "base_path": refined("the path of a local folder", TEXT, _read_base_path),
    "model_platform": refined('"tensorflow"', TEXT, _read_platform),
    "model_type": One("TENSORFLOW", _read_type),
    "model_version_policy": Inner(VERSION_POLICY),
    "version_labels": Inner(_LABEL, repeated=True),
    "logging_config": Ignored("requests are not recorded"),
}
_CONFIG: Fields = {"model_config_list": Inner({"config": Inner(_MODEL, repeated=True)})}


@dataclass(frozen=True, slots=True)
class ConfiguredModel:
    """A model of a model config file."""

    base_path: Path  #: the folder with a folder for each version
    facts: ServingFacts
    notes: tuple[str, ...]  #: what has no effect, a line each


def read_model_config(path: Path) -> dict[str, ConfiguredModel]:
    """
    Return the models that the model config file at *path* lists, by name.

    A relative base path starts from the folder of the file.  Raises `ModelError`, one line with the
    file and the line in it.
    """
    file = read_text_file(path)
    models: dict[str, ConfiguredModel] = {}
    configs = file.read(_CONFIG).get("model_config_list", {}).get("config", [])
    ends = [*(each[LINE] for each in configs[1:]), inf]
    for each, end in zip(configs, ends, strict=False):
        line = each[LINE]
        for needed in ("name", "base_path"):
            if needed not in each:
                raise file.error(line, f"a config without {needed}")
        name = each["name"]
        if name in models:
            raise file.error(line, f"a second model called {name}")
        facts = ServingFacts(
            **versions_of(file, line, each.get("model_version_policy", {})),
            labels=_labels(file, each.get("version_labels", [])),
        )
        base_path = path.parent / each["base_path"]
        models[name] = ConfiguredModel(base_path, facts, file.notes(line, end))
    return models


def _labels(file: TextFile, entries: list[dict[str, Any]]) -> dict[str, int]:
    labels: dict[str, int] = {}
    for entry in entries:
        if "key" not in entry:
            raise file.error(entry[LINE], "a version label without key")
        labels[entry["key"]] = entry.get("value", 0)
    return labels


def _wrapped(kind: One) -> Inner:
    """Return a field whose value is in a message of its own: ``{ value: N }``."""
    return Inner({"value": kind})


_LATE = "admission limits the time that a request may wait"
_BATCHING: Fields = {
    "max_batch_size": _wrapped(whole(1)),
    "max_execution_batch_size": _wrapped(whole(1)),
    "batch_timeout_micros": _wrapped(whole(0)),
    "max_enqueued_batches": Ignored(_LATE),
    "num_batch_threads": Ignored("--lanes states the threads that run batches"),
    "thread_pool_name": Ignored("there is one pool"),
    "enable_large_batch_splitting": Ignored("a request of more rows than a batch is always split"),
    "allowed_batch_sizes": Ignored("a batch of any size up to the largest may run"),
    "pad_variable_length_inputs": Ignored("requests of different shapes never share a batch"),
}


@dataclass(frozen=True, slots=True)
class BatchingParameters:
    """The contents of a batching parameters file."""

    max_batch_size: int | None  #: rows of one run
    batch_timeout_micros: int | None  #: how long a request may wait for others
    notes: tuple[str, ...]  #: what has no effect, a line each


def read_batching_parameters(path: Path) -> BatchingParameters:
    """Return the contents of the file at *path*; raises `ModelError` as `read_model_config`."""
    file = read_text_file(path)
    values = file.read(_BATCHING)
    # A message without a value has the value 0, which stands for "not set".
    rows = values.get("max_execution_batch_size", values.get("max_batch_size", {})).get("value")
    delay = values.get("batch_timeout_micros", {"value": None}).get("value", 0)
    return BatchingParameters(rows, delay, file.notes())
