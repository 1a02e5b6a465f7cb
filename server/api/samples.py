"""
Write a sample request for a signature.

Pure; imports neither Twisted nor TensorFlow.
"""

import json
import shlex
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import numpy as np

from model.images.input import ImageInput
from model.signature import STRING, Feed, FeedError, Signature, TensorSpec, blank_feed
from server.api.json_tensors import check_carried, value_of

#: Most numbers of an input that a sample request writes out.
MAX_WRITTEN_NUMBERS = 64

#: A white PNG of 2 x 2 pixels, for inputs that take encoded images.
SAMPLE_IMAGE = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR42mP8//8/AwMDEwMDAwMDAwAkBgMB/umWrAAA"
    "AABJRU5ErkJggg=="
)


def sample_feed(
    signature: Signature, image_input: ImageInput | None, samples: Mapping[str, Feed] | None
) -> Feed | str:
    """
    Return a feed of one row for a sample request; if there is none, the reason as text.

    The request is for *signature*.  *image_input* is that of the model; None if the model takes no
    images.  *samples* maps the names of signatures to feeds that the model has run; None if the
    model was not run.
    """
    try:
        check_carried(signature)
    except FeedError as error:
        return str(error)
    if samples is None:
        return "the model was not run"
    sample = samples.get(signature.name)
    if image_input is not None and signature == image_input.encoded and not _is_rare_format(sample):
        return blank_feed(signature, SAMPLE_IMAGE)
    if sample is None:
        return "the model refused every value that was tried"
    if image_input is not None and signature == image_input.signature:
        return Feed(signature, tuple(map(np.zeros_like, sample.arrays)))
    return sample


def _is_rare_format(sample: Feed | None) -> bool:
    """
    Whether *sample* is a BMP or GIF image.

    If so, the model has refused the formats that were tried before these.
    """
    if sample is None or sample.arrays[0].dtype != STRING:
        return False
    return bytes(sample.arrays[0].reshape(-1)[0]).startswith((b"BM", b"GIF"))


def sample_request(sample: Feed, default: str) -> str:
    """
    Return the JSON text of a request with *sample*.

    The request names the signature of *sample* unless *default* is the name of that signature.  An
    input with more than `MAX_WRITTEN_NUMBERS` numbers is written as ``<dtype and shape>``.
    """
    written = {
        spec.name: _value(spec, array) if array.size <= MAX_WRITTEN_NUMBERS else f"<{spec}>"
        for spec, array in zip(sample.signature.inputs, sample.arrays, strict=True)
    }
    name = sample.signature.name
    named = {} if name == default else {"signature_name": name}
    return json.dumps({"inputs": written, **named})


def sample_command(sample: Feed, default: str, address: str) -> str:
    """
    Return a shell command that posts *sample* to *address*.

    *address* is a URL.  The request names the signature of *sample* unless *default* is the name of
    that signature.  If an input has more than `MAX_WRITTEN_NUMBERS` numbers, the command calls
    Python to write the JSON.
    """
    if is_short(sample):
        return f"curl -d {shlex.quote(sample_request(sample, default))} {address}"
    inputs = ", ".join(
        f"{json.dumps(spec.name)}: {_expression(spec, array)}"
        for spec, array in zip(sample.signature.inputs, sample.arrays, strict=True)
    )
    name = sample.signature.name
    named = "" if name == default else f', "signature_name": {json.dumps(name)}'
    program = f'import json; print(json.dumps({{"inputs": {{{inputs}}}{named}}}))'
    return f"python3 -c {shlex.quote(program)} | curl -d @- {address}"


def is_short(sample: Feed) -> bool:
    """Whether `sample_request` writes all numbers of *sample*, and no ``<dtype and shape>``."""
    return all(array.size <= MAX_WRITTEN_NUMBERS for array in sample.arrays)


def _value(spec: TensorSpec, array: np.ndarray) -> Any:  # Any: JSON
    """Return *array*, which is described by *spec*, as a value that JSON can hold."""
    value = value_of(spec, array)
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _expression(spec: TensorSpec, array: np.ndarray) -> str:
    """
    Return a short Python expression for *array*, whose elements are all equal.

    Its length grows with the number of axes, not with the number of elements.
    """
    element = _value(spec, array.reshape(-1)[:1])
    expression = repr(element[0] if array.size else 0).replace("'", '"')
    for size in reversed(array.shape):
        expression = f"[{expression}]" if size == 1 else f"[{expression}] * {size}"
    return expression
