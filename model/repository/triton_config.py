"""
Read the ``config.pbtxt`` of a model as Triton has it: which versions are served, and how.

What has no counterpart is ignored, with a note; `serving.toml` beside it has priority.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.repository.policy_message import VERSION_POLICY, versions_of
from model.repository.serving_toml import MAX_ROWS, ServingFacts
from model.repository.text_fields import (
    TEXT,
    Fields,
    Ignored,
    Inner,
    read_text_file,
    whole,
)

CONFIG_PBTXT = "config.pbtxt"

#: What the files of the model state themselves.
_KNOWN = Ignored("")
_MEASURED = Ignored("the sizes of batches are chosen by measured run times")
_LABELS = "labels are read from output_labels.txt or model.toml in the folder of the version"
_DELAY = "max_queue_delay_microseconds"
#: The formats of `platform` and `backend` that are loaded.
_TENSORFLOW = ("", "tensorflow", "tensorflow_savedmodel", "tensorflow_graphdef")

_BATCHING: Fields = {
    _DELAY: whole(0),
    "preferred_batch_size": _MEASURED,
    "preserve_ordering": Ignored("each request has a connection that waits for its answer"),
    "priority_levels": Ignored("a request states its priority as high, normal or low"),
    "default_priority_level": Ignored("a request without a priority has the normal one"),
    "default_queue_policy": Ignored("--default-timeout limits the time of a request"),
    "priority_queue_policy": Ignored("--default-timeout limits the time of a request"),
}
_OUTPUT: Fields = {
    **dict.fromkeys(("name", "data_type", "dims", "reshape", "is_shape_tensor"), _KNOWN),
    "label_filename": Ignored(_LABELS),
    "is_non_linear_format_io": _KNOWN,
}
_FIELDS: Fields = {
    "name": TEXT,
    "platform": TEXT,
    "backend": TEXT,
    "max_batch_size": whole(0),
    "version_policy": Inner(VERSION_POLICY),
    "dynamic_batching": Inner(_BATCHING),
    "input": _KNOWN,
    "output": Inner(_OUTPUT, repeated=True),
    "batch_input": Ignored("the model gets the inputs of its signature alone"),
    "batch_output": Ignored("the model gets the inputs of its signature alone"),
    "default_model_filename": Ignored("the model is found in the folder of the version"),
    "cc_model_filenames": Ignored("the model is found in the folder of the version"),
    "metric_tags": Ignored("there are no metrics with tags"),
    "parameters": Ignored("they are for Triton's backends"),
    "optimization": Ignored("the graph is optimised by TensorFlow"),
    "instance_group": Ignored("--device and --lanes state what runs the models"),
    "model_warmup": Ignored("each size of batch is warmed up on its own"),
    "model_operations": Ignored("no libraries of operations are loaded"),
    "model_transaction_policy": Ignored("a request has one answer"),
    "model_repository_agents": Ignored("manifest.json states the sizes and hashes of files"),
    "model_metrics": Ignored("there are no metrics with tags"),
    "response_cache": Ignored("answers are not cached"),
    "runtime": Ignored("TensorFlow runs the model"),
    "sequence_batching": Ignored("requests are independent of each other"),
    "ensemble_scheduling": Ignored("a model is served on its own"),
}


@dataclass(frozen=True, slots=True)
class TritonConfig:
    """What a ``config.pbtxt`` states."""

    facts: ServingFacts
    notes: tuple[str, ...]  #: what has no effect, a line each


def read_config_pbtxt(path: Path) -> TritonConfig:
    """
    Return what the ``config.pbtxt`` at *path* states.

    Raises `ModelError`, one line with the file and the line in it, if it cannot be read.
    """
    file = read_text_file(path, allows_unknown=True)
    values = file.read(_FIELDS)
    line = file.line_of("version_policy")
    facts = versions_of(file, line, values.get("version_policy", {}))
    rows = values.get("max_batch_size", 0)
    if rows:
        facts["max_batch_size"] = min(rows, MAX_ROWS)
    delay = values.get("dynamic_batching", {}).get(_DELAY)
    if delay is not None:
        facts["max_queue_delay"] = delay / 1e6
    notes = [*file.notes(), *(f"{path}: {each}" for each in _remarks(path, values))]
    return TritonConfig(ServingFacts(**facts), tuple(notes))


def _remarks(path: Path, values: dict[str, Any]) -> list[str]:
    """Return what is to be said about *values* of the file at *path*."""
    remarks = []
    name, rows = values.get("name", ""), values.get("max_batch_size")
    if name not in ("", path.parent.name):
        remarks.append(f"name {name} is ignored: the folder is {path.parent.name}")
    remarks += [
        f"{key} {values[key]} is ignored: models of TensorFlow are loaded"
        for key in ("platform", "backend")
        if values.get(key, "") not in _TENSORFLOW
    ]
    if rows == 0:
        remarks.append("max_batch_size 0 is ignored: a run at load shows if requests share runs")
    elif rows is not None and rows > MAX_ROWS:
        remarks.append(f"max_batch_size {rows} is more than a batch may have: {MAX_ROWS} rows")
    return remarks
