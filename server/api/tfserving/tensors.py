"""
Make the arrays of a predict request: rows ("instances") or columns ("inputs").

Whole columns become arrays at once.  Only if that fails, server/api/tfserving/refusals.py looks for
the first value that is wrong, to describe it as TensorFlow Serving does.  Pure.
"""

from collections.abc import Mapping

import numpy as np

from model.signature import STRING, FeedError, Signature, TensorSpec
from server.api.json_tensors import array_of
from server.api.json_text import as_list
from server.api.number_lists import NumberList
from server.api.tfserving.base64_values import is_base64, with_plain_base64
from server.api.tfserving.errors import invalid
from server.api.tfserving.refusals import check_column, check_rows
from server.api.tfserving.shown_json import shown

#: The values of the inputs, by their names: parsed JSON, with the batch axis.
Columns = Mapping[str, object]

_PLAIN_ROWS = (
    "instances is a plain list, but expecting list of objects as multiple input tensors required "
    "as per tensorinfo_map"
)


def is_row_format(content: Mapping[str, object]) -> bool:
    """
    Whether *content*, a predict request, has rows; raises a 400 unless it has rows or columns.
    """
    if "instances" not in content:
        if "inputs" not in content:
            raise invalid("Missing 'inputs' or 'instances' key")
        return False
    if "inputs" in content:
        raise invalid(
            f"JSON Value: {shown(content)} Not formatted correctly expecting only one of 'inputs' "
            "or 'instances' keys to exist "
        )
    return True


def are_flat(signature: Signature, arrays: Mapping[str, np.ndarray]) -> bool:
    """
    Whether each of *arrays*, by the inputs of *signature*, is [n] where that has [?, 1].

    TensorFlow Serving runs the graph with such arrays as they are: where that works, as it does for
    half_plus_two, the outputs are [n], too.
    """
    specs = signature.inputs
    return all(spec.shape == (None, 1) and arrays[spec.name].ndim == 1 for spec in specs)


def columns_of(signature: Signature, content: Mapping[str, object]) -> Columns:
    """
    Return the values of the inputs of *signature* in *content*, a predict request.

    Raises a 400 if there is a value for no input, or an input without a value.
    """
    if not signature.inputs:
        raise invalid(f"Failed to get input map for signature: {signature.name}")
    if is_row_format(content):
        return _columns_of_rows(signature, content)
    inputs = content["inputs"]
    if isinstance(inputs, dict) and not is_base64(inputs):
        for spec in signature.inputs:
            if spec.name not in inputs:
                raise invalid(f"Missing named input: {spec.name} in 'inputs' object.")
        return {spec.name: inputs[spec.name] for spec in signature.inputs}
    if len(signature.inputs) > 1:
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors "
            "required as per tensorinfo_map"
        )
    return {signature.inputs[0].name: inputs}


def _columns_of_rows(signature: Signature, content: Mapping[str, object]) -> Columns:
    if isinstance(content["instances"], NumberList) and len(signature.inputs) == 1:
        return {signature.inputs[0].name: content["instances"]}
    rows = as_list(content["instances"])
    if rows is None:
        raise invalid(f"JSON Value: {shown(content)} Expecting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {shown(content)} No values in 'instances' array")
    names = {spec.name for spec in signature.inputs}
    if not isinstance(rows[0], dict) and len(names) > 1:
        raise invalid(_PLAIN_ROWS)
    has_objects = [isinstance(row, dict) and not is_base64(row) for row in rows]
    if not any(has_objects) and len(names) == 1:
        return {signature.inputs[0].name: content["instances"]}
    if not all(has_objects) or any(row.keys() != names for row in rows):  # type: ignore[attr-defined]  # dicts
        check_rows(signature, rows)
        raise invalid(_PLAIN_ROWS)
    return {name: [row[name] for row in rows] for name in names}  # type: ignore[index]  # dicts


def arrays_of(
    signature: Signature, content: Mapping[str, object], columns: Columns
) -> dict[str, np.ndarray]:
    """
    Return the arrays of *columns*, which are those of *content*, by the names of the inputs.

    Raises a 400 for a value that does not fit its input.
    """
    try:
        return {spec.name: _array(spec, columns[spec.name]) for spec in signature.inputs}
    except FeedError:
        rows = as_list(content.get("instances"))
        if rows is not None:
            check_rows(signature, rows)
        else:
            for spec in signature.inputs:
                check_column(spec, columns[spec.name])
        raise


def _array(spec: TensorSpec, value: object) -> np.ndarray:
    if isinstance(value, list) and any(isinstance(row, NumberList) for row in value):
        arrays = [array_of(spec, row, finite=False) for row in value]
        if len({array.shape for array in arrays}) > 1:
            raise FeedError(f"input {spec.name!r}: the rows differ in shape")
        return np.stack(arrays)
    try:
        return array_of(spec, value, finite=False)
    except FeedError:
        if spec.dtype != STRING:
            raise
    return array_of(spec, with_plain_base64(value))
