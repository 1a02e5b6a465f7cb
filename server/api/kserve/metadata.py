"""
Describe models in the forms of the v2 protocol: metadata, configuration, statistics, the index.

Pure; nothing here changes a model.
"""

from collections.abc import Iterable

from model.signature import STRING, Signature, TensorSpec
from server.api.kserve.datatypes import datatype_of
from server.inference import Inference
from server.repository.version_report import ModelReport, VersionReport
from server.served_model import ServedModel
from server.statistics import Total
from tensorferry import __version__

#: What clients read as the kind of a model; for information only, so one name is enough.
PLATFORM = "tensorflow_savedmodel"

#: The extensions of the protocol that this server has.
EXTENSIONS = (
    "classification",
    "model_configuration",
    "model_repository",
    "binary_tensor_data",
    "parameters",
    "statistics",
)

#: The states in the index by those of our reports; any other is UNAVAILABLE.
_STATES = {
    "serving": "READY",
    "waiting": "LOADING",
    "loading": "LOADING",
    "loaded": "LOADING",
    "draining": "UNLOADING",
}


def server_metadata() -> dict[str, object]:
    """Return the metadata of the server."""
    return {"name": "tensorferry", "version": __version__, "extensions": EXTENSIONS}


def model_metadata(model: ServedModel, versions: Iterable[str]) -> dict[str, object]:
    """
    Return the metadata of *model*, of which *versions* take requests.

    The inputs and outputs are those of the default signature.  If there are more signatures, all
    of them are in the parameters.
    """
    content: dict[str, object] = {
        "name": model.name,
        "versions": list(versions),
        "platform": PLATFORM,
        **_tensors(model, model.signatures[model.default]),
    }
    if len(model.signatures) > 1:
        content["parameters"] = {
            "signatures": {name: _tensors(model, it) for name, it in model.signatures.items()}
        }
    return content


def _tensors(model: ServedModel, signature: Signature) -> dict[str, object]:
    inputs = [_tensor(spec) for spec in signature.inputs]
    if model.takes_files_for(signature) and signature.inputs[0].dtype != STRING:
        # Images in the place of pixels: a row for each element.
        inputs[0]["parameters"] = {"also_takes": "BYTES"}
    return {"inputs": inputs, "outputs": [_tensor(spec) for spec in signature.outputs]}


def _tensor(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": _sizes(spec.shape)}


def _sizes(shape: tuple[int | None, ...] | None) -> list[int]:
    """Return *shape* with -1 for open sizes; a shape of any rank is [-1]."""
    return [-1] if shape is None else [-1 if size is None else size for size in shape]


def model_config(model: ServedModel) -> dict[str, object]:
    """Return the configuration of *model*, with the tensors of its default signature."""
    signature = model.signatures[model.default]
    batched = signature.batched
    content: dict[str, object] = {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "tensorflow",
        "max_batch_size": model.cap(signature.name) if batched else 0,
        "input": [_configured(spec, batched) for spec in signature.inputs],
        "output": [_configured(spec, batched) for spec in signature.outputs],
        "instance_group": [
            {"name": model.name, "kind": "KIND_AUTO", "count": model.batcher.stats().lanes}
        ],
    }
    if batched:
        content["dynamic_batching"] = {}
    return content


def _configured(spec: TensorSpec, batched: bool) -> dict[str, object]:
    datatype = datatype_of(spec.dtype)
    shape = spec.shape[1:] if batched and spec.shape else spec.shape
    return {
        "name": spec.name,
        "data_type": f"TYPE_{'STRING' if datatype == 'BYTES' else datatype}",
        "dims": _sizes(shape),
    }


def model_statistics(inference: Inference, now: float, epoch: float) -> dict[str, object]:
    """
    Return the statistics of one version; *now* is the time of the monotonic clock, in seconds.

    *epoch* is the same time in seconds since 1970.
    """
    model, counted = inference.model, inference.statistics
    by_rows = model.recorder.executions(model.queues.share)
    last = 0 if counted.last is None else round((epoch - (now - counted.last)) * 1e3)
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": last,
        "inference_count": counted.rows,
        "execution_count": sum(it.count for it in by_rows.values()),
        "inference_stats": {
            "success": _duration(counted.success),
            "fail": _duration(counted.fail),
            "queue": _duration(counted.queue),
            "compute_input": _duration(counted.prepare),
            "compute_infer": _duration(counted.run),
            "compute_output": _duration(counted.finish),
            "cache_hit": _duration(Total()),
            "cache_miss": _duration(Total()),
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": rows,
                # Rows are gathered before a run, and split after it.
                "compute_input": _duration(Total(it.count, it.overhead)),
                "compute_infer": _duration(Total(it.count, it.seconds)),
                "compute_output": _duration(Total(it.count)),
            }
            for rows, it in sorted(by_rows.items())
        ],
        "memory_usage": [],
    }


def _duration(total: Total) -> dict[str, int]:
    # Clients read unsigned numbers; a clock that is set back could make one negative.
    return {"count": total.count, "ns": max(0, round(total.seconds * 1e9))}


def repository_index(reports: Iterable[ModelReport], *, ready: bool) -> list[dict[str, str]]:
    """Return an entry for each version in *reports*; with *ready* only for those that serve."""
    entries: list[dict[str, str]] = []
    for report in reports:
        if not report.versions and not ready:
            entries.append({"name": report.name, "state": "UNAVAILABLE", "reason": report.problem})
        entries += [
            _entry(report.name, version)
            for version in report.versions
            if not ready or version.state == "serving"
        ]
    return entries


def _entry(name: str, version: VersionReport) -> dict[str, str]:
    state = _STATES.get(version.state, "UNAVAILABLE")
    reason = version.reason
    if state == "UNAVAILABLE":
        reason = f"{version.state}: {reason}" if reason else version.state
    return {"name": name, "version": version.version, "state": state, "reason": reason}


def is_settled(report: ModelReport) -> bool:
    """
    Whether no version of a model is loaded now, or waits to be loaded.

    While none is served, a version that drains may be one that is loaded again afterwards.
    """
    states = {_STATES.get(it.state) for it in report.versions}
    return "LOADING" not in states and ("UNLOADING" not in states or "READY" in states)


def load_failures(report: ModelReport) -> str:
    """Return why a model, which `is_settled`, is not served as it should be; "" if it is."""
    failed = [it for it in report.versions if it.state == "failed"]
    if failed:
        return "; ".join(f"version {it.version} is not available: {it.reason}" for it in failed)
    if any(it.state == "serving" for it in report.versions):
        return ""
    return report.problem or "no version is available"
