"""The tensors that the programs with tritonclient send, for both of its HTTP clients."""

import base64

import ml_dtypes
import numpy as np
from tritonclient.utils import np_to_triton_dtype

PAIRS = np.array([[1, 2], [4, 5]], np.float32)
WHOLE = np.array([10, 20], np.int32)

#: A green PNG of 1 x 1 pixels.
PHOTO = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNg+M8AAAICAQB7CYF4AAAAAElFTkSuQmCC"
)

#: Two rows of two values, by the inputs of the model types.
TYPES = {
    "half": np.array([[0.5, -65504], [3, 4]], np.float16),
    "brain": np.array([[0.5, -3e38], [3, 4]], ml_dtypes.bfloat16),
    "text": np.array([[b"", b"a"], ["é".encode(), b"bc"]], object),
    "flag": np.array([[True, False], [False, False]]),
    "whole": np.array([[-(2**63), 2**63 - 1], [3, 4]], np.int64),
}


def inputs_of(triton, arrays, *, binary=True):
    """Return *arrays* as inputs of the module *triton*."""
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    return inputs


def outputs_of(triton, names, *, binary):
    """Return the outputs that a request names."""
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def several_inputs(triton, *, binary):
    """Return the inputs of the model several."""
    return inputs_of(triton, {"a": PAIRS, "b": WHOLE}, binary=binary)


def check_several(result, names=None):
    """Check that *result* has the outputs *names* of the model several, None: all."""
    expected = {"sum": PAIRS + WHOLE[:, None], "product": PAIRS[:, 0] * 2}
    found = [it["name"] for it in result.get_response()["outputs"]]
    assert found == (names or ["product", "sum"])
    for name in found:
        np.testing.assert_array_equal(result.as_numpy(name), expected[name])
