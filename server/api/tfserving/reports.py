"""
Describe models and their versions as TensorFlow Serving and KServe do.

Pure.
"""

from collections.abc import Mapping

from model.signature import STRING, Signature, TensorSpec
from server.api.tfserving.answers import CLASSES, REGRESSION, SCORES
from server.api.tfserving.paths import Target
from server.api.tfserving.tensor_types import enum_name
from server.http.error_statuses import HTTPError
from server.repository.version_report import ModelReport, VersionReport
from server.served_model import ServedModel

#: TensorFlow Serving's state of a version, by ours, and the code of its status if it has a reason.
_STATES = {
    "serving": ("AVAILABLE", "OK"),
    "loading": ("LOADING", "OK"),
    "loaded": ("LOADING", "OK"),
    "waiting": ("START", "OK"),
    "incomplete": ("START", "UNAVAILABLE"),
    "draining": ("UNLOADING", "OK"),
    "failed": ("END", "INTERNAL"),
    "not served": ("END", "OK"),
}

_METHOD = "tensorflow/serving/"


def status_content(report: ModelReport, target: Target) -> dict[str, object]:
    """
    Return the status of the versions that *target* names, the newest first.

    *report* is that of its model.  Raises the error for a version or a label that is not known.
    """
    versions = report.versions
    if target.version is not None:
        versions = tuple(it for it in versions if it.version == target.version)
        if not versions:
            raise not_known(target)
    elif target.label is not None:
        versions = tuple(it for it in versions if target.label in it.labels)
        if not versions:
            raise not_known(target)
    return {
        "model_version_status": [_version_content(it) for it in versions],
        "name": report.name,
        "ready": any(it.state == "serving" for it in versions),
    }


def not_known(target: Target) -> HTTPError:
    """Return the error for the status of a model, a version or a label that is not known."""
    if target.label is not None:
        return target.not_found()
    versions = "any versions" if target.version is None else f"version {target.version}"
    return HTTPError(404, f"Could not find {versions} of model {target.name}")


def _version_content(version: VersionReport) -> dict[str, object]:
    state, code = _STATES[version.state]
    message = "" if code == "OK" else version.reason
    return {
        "version": version.version,
        "state": state,
        "status": {"error_code": code, "error_message": message},
    }


def metadata_content(model: ServedModel) -> dict[str, object]:
    """Return the signatures of *model*."""
    signatures = {name: _signature_content(it) for name, it in model.signatures.items()}
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _signature_content(signature: Signature) -> dict[str, object]:
    return {
        "inputs": {spec.name: _tensor_content(spec) for spec in signature.inputs},
        "outputs": {spec.name: _tensor_content(spec) for spec in signature.outputs},
        "method_name": f"{_METHOD}{_method(signature)}",
    }


def _method(signature: Signature) -> str:
    """Return which request, beside predict, *signature* is made for, by the names of its ends."""
    outputs = {spec.name for spec in signature.outputs}
    if [(spec.name, spec.dtype) for spec in signature.inputs] != [("inputs", STRING)]:
        return "predict"
    if outputs == {REGRESSION}:
        return "regress"
    return "classify" if outputs and outputs <= {CLASSES, SCORES} else "predict"


def _tensor_content(spec: TensorSpec) -> Mapping[str, object]:
    sizes = spec.shape or ()
    return {
        "dtype": enum_name(spec.dtype),
        "tensor_shape": {
            "dim": [{"size": str(-1 if size is None else size), "name": ""} for size in sizes],
            "unknown_rank": spec.shape is None,
        },
        "name": f"{spec.name}:0",
    }
