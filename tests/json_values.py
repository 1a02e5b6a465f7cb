"""Tensors and their JSON, for tests."""

from typing import Any

import ml_dtypes
import numpy as np
import orjson

from model.signature import TensorSpec
from server.api.json_tensors import encode_outputs

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
DTYPES = ["bool", *INTEGERS, *FLOATS, "object"]


def tensor(dtype: str, name: str = "x") -> TensorSpec:
    """Return a tensor of *dtype*, of any shape."""
    return TensorSpec(name, BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype), None)


def answered(dtype: str, array: Any) -> Any:
    """Return an output as a client parses it."""
    return orjson.loads(encode_outputs([tensor(dtype, "y")], [array]))["outputs"]["y"]
