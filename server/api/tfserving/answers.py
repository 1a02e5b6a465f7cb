"""
Write outputs as TensorFlow Serving does: predictions, outputs, classes with scores, and numbers.

Pure; large outputs are written on decode threads.
"""

from base64 import b64encode
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from model.signature import STRING, Signature, TensorSpec
from server.api.json_tensors import has_tokens, value_of
from server.api.json_text import write_json
from server.api.tfserving.errors import invalid
from server.api.tfserving.tensor_types import enum_name
from server.call import Outputs
from server.http.messages import HTTPResponse

#: The end of the names of string outputs that are written as base64.
BYTES_SUFFIX = "_bytes"

#: The names of the outputs of classify; regress has one output, `REGRESSION`.
CLASSES, SCORES, REGRESSION = "classes", "scores", "outputs"


def rows_answer(outputs: Outputs) -> HTTPResponse:
    """Return the answer to a predict request with rows; raises a 400 for outputs without rows."""
    names, arrays = _named(outputs)
    count = None
    for name, array in zip(names, arrays, strict=True):
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if count not in (None, len(array)):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {count}"
            )
        count = len(array)
    values = _values(outputs)
    if len(names) == 1:
        return _answer({"predictions": values[0]}, outputs)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    return _answer({"predictions": rows}, outputs)


def columns_answer(outputs: Outputs) -> HTTPResponse:
    """Return the answer to a predict request with columns."""
    names, _ = _named(outputs)
    values = _values(outputs)
    content = values[0] if len(names) == 1 else dict(zip(names, values, strict=True))
    return _answer({"outputs": content}, outputs)


def flat(outputs: Outputs) -> Outputs:
    """Return *outputs* with shape [n] instead of [n, 1]: what a graph gives for `are_flat`."""
    arrays = (np.asarray(array) for array in outputs.arrays)
    without = (a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a for a in arrays)
    return Outputs(outputs.signature, tuple(without))


def check_classifies(signature: Signature) -> None:
    """Raise a 400 unless *signature* has outputs for `classes_answer`."""
    specs = {spec.name: spec for spec in signature.outputs}
    classes, scores = specs.get(CLASSES), specs.get(SCORES)
    if classes is None and scores is None:
        raise invalid(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {signature.name} with {_listed(signature)}'
        )
    if classes is not None and classes.dtype != STRING:
        raise invalid(f"Expected classes Tensor of DT_STRING. Got: {enum_name(classes.dtype)}")
    if scores is not None and scores.dtype.name != "float32":
        raise invalid(f"Expected scores Tensor of DT_FLOAT. Got: {enum_name(scores.dtype)}")


def check_regresses(signature: Signature) -> None:
    """Raise a 400 unless *signature* has the output of `numbers_answer`."""
    specs = {spec.name: spec for spec in signature.outputs}
    if REGRESSION not in specs:
        raise invalid(
            "No regression outputs found in SignatureDef: "
            f"{signature.name} with {_listed(signature)}"
        )
    if specs[REGRESSION].dtype.name != "float32":
        got = enum_name(specs[REGRESSION].dtype)
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {got}")


def classes_answer(outputs: Outputs) -> HTTPResponse:
    """
    Return the answer to a classify request: for each row, each class with its score.

    A class is empty without an output of classes, and a score 0 without one of scores.
    """
    named = dict(zip(*_named(outputs), strict=True))
    found = {name: named[name] for name in (CLASSES, SCORES) if name in named}
    for array in found.values():
        if array.ndim != 2:
            got = _shape(array)
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {got}")
    shape = next(iter(found.values())).shape
    classes = found[CLASSES] if CLASSES in found else np.full(shape, b"", STRING)
    scores = found[SCORES] if SCORES in found else np.zeros(shape, np.float32)
    if classes.shape != scores.shape:
        raise invalid(
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    texts = cast("list[list[object]]", value_of(TensorSpec(CLASSES, STRING, None), classes))
    rows = [list(zip(*row, strict=True)) for row in zip(texts, scores, strict=True)]
    return _answer({"results": rows}, outputs)


def numbers_answer(outputs: Outputs) -> HTTPResponse:
    """Return the answer to a regress request: a number for each row."""
    array = dict(zip(*_named(outputs), strict=True))[REGRESSION]
    if array.ndim != 1 and (array.ndim != 2 or array.shape[1] != 1):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(array)}"
        )
    return _answer({"results": np.ascontiguousarray(array.reshape(-1))}, outputs)


#: The check of a signature, and the writer of the answer, for the requests with examples.
BY_ACTION: dict[str, tuple[Callable[[Signature], None], Callable[[Outputs], HTTPResponse]]] = {
    "classify": (check_classifies, classes_answer),
    "regress": (check_regresses, numbers_answer),
}


def _answer(content: object, outputs: Outputs) -> HTTPResponse:
    tokens = any(map(has_tokens, outputs.arrays))
    return HTTPResponse(200, write_json(content, tokens=tokens, newline=True))


def _named(outputs: Outputs) -> tuple[list[str], list[np.ndarray]]:
    """Return the names and the arrays of *outputs*."""
    arrays = [np.asarray(array) for array in outputs.arrays]
    return [spec.name for spec in outputs.signature.outputs], arrays


def _values(outputs: Outputs) -> list[Any]:  # Any: arrays, lists or numbers
    """Return *outputs* as values for `write_json`."""
    return [
        _value(spec, array)
        for spec, array in zip(outputs.signature.outputs, outputs.arrays, strict=True)
    ]


def _value(spec: TensorSpec, array: np.ndarray) -> object:
    if spec.dtype == STRING and spec.name.endswith(BYTES_SUFFIX):
        return np.asarray(_BASE64(np.asarray(array, STRING)), STRING).tolist()
    return value_of(spec, array)


def _base64(data: bytes) -> dict[str, str]:
    return {"b64": b64encode(data).decode()}


_BASE64 = np.frompyfunc(_base64, 1, 1)


def _listed(signature: Signature) -> str:
    return ", ".join(f"{spec.name}: {spec}" for spec in signature.outputs)


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"
