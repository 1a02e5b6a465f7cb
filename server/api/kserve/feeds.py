"""
Make the feed of a request in the v2 protocol: tensors in JSON or in bytes, or images.

The functions run on decode threads; for small requests to models without images, on the reactor
thread.  A tensor of bytes stays a view of the body until its rows are copied for a run.
"""

from math import prod

import numpy as np

from model.images.first_bytes import image_format
from model.signature import STRING, Feed, FeedError, TensorSpec
from server.api.image_body import image_file
from server.api.json_tensors import array_of
from server.api.kserve.datatypes import BINARY_ONLY, datatype_of, from_bytes, reshaped
from server.api.kserve.envelope import Envelope, InputTensor
from server.served_model import ServedModel


def feed_of(model: ServedModel, envelope: Envelope, body: bytes, start: int) -> Feed:
    """
    Return the feed of the request *envelope*; its binary tensors are in *body* from *start* on.

    Raises `FeedError` if the request does not fit the model or the length of the body, `BadImage`
    if an image cannot be decoded, and `QueueFull` for more images than the queue can ever hold.
    """
    signature = model.signature_of(envelope.signature_name)
    specs = {spec.name: spec for spec in signature.inputs}
    if len(envelope.inputs) != len(specs):
        raise FeedError(
            f"expected {len(specs)} inputs but got {len(envelope.inputs)} inputs "
            f"for model {model.name!r}"
        )
    arrays: dict[str, np.ndarray] = {}
    files: list[bytes] = []
    for tensor in envelope.inputs:
        spec = specs.get(tensor.name)
        if spec is None:
            raise FeedError(
                f"unexpected inference input {tensor.name[:80]!r} for model {model.name!r}"
            )
        if tensor.name in arrays:
            raise FeedError(f"input {tensor.name!r} is given twice")
        if tensor.datatype == "BYTES" and model.takes_files_for(signature):
            spec = TensorSpec(spec.name, STRING, None)
            files = _files(tensor, _array(model, spec, tensor, body, start))
        else:
            arrays[tensor.name] = _array(model, spec, tensor, body, start)
        start += tensor.size or 0
    if start != len(body):
        raise FeedError(
            f"unexpected additional input data for model {model.name!r}: "
            f"{len(body) - start} bytes after the last tensor"
        )
    if files:
        return model.prepare_images(files, image_file)
    return model.prepare_tensors(signature, arrays)


def _array(
    model: ServedModel, spec: TensorSpec, tensor: InputTensor, body: bytes, start: int
) -> np.ndarray:
    """Return the array of *tensor*, whose bytes, if it is binary, begin in *body* at *start*."""
    datatype = datatype_of(spec.dtype)
    if tensor.datatype != datatype:
        raise FeedError(
            f"inference input {tensor.name!r} data-type is {tensor.datatype!r}, "
            f"but model {model.name!r} expects {datatype!r}"
        )
    shape = _shape(model, spec, tensor.shape)
    if tensor.size is not None:
        missing = start + tensor.size - len(body)
        if missing > 0:
            raise FeedError(
                f"unexpected size for input {tensor.name!r}, expecting {missing} additional bytes"
            )
        return from_bytes(tensor.name, spec.dtype, shape, body, start, start + tensor.size)
    if datatype in BINARY_ONLY:
        raise FeedError(
            f"{datatype} data of input {tensor.name!r} cannot be sent as JSON: send it in binary"
        )
    return reshaped(array_of(spec, tensor.data, finite=False), shape, tensor.name)


def _shape(model: ServedModel, spec: TensorSpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    """
    Return the shape for *spec* of a tensor of *shape*; raises `FeedError` if that does not fit.

    [n] fits [-1,1], as in `Signature.feed`, and [n,1] fits [-1], as Triton's models have it.
    """
    wanted = spec.shape
    if wanted is None or (wanted == (None, 1) and len(shape) == 1):
        return shape
    if wanted == (None,) and len(shape) == 2 and shape[1] == 1:
        return shape[:1]
    if len(wanted) != len(shape) or any(
        want not in (None, got) for want, got in zip(wanted, shape, strict=True)
    ):
        expected = ",".join("-1" if size is None else str(size) for size in wanted)
        raise FeedError(
            f"unexpected shape for input {spec.name!r} for model {model.name!r}. "
            f"Expected [{expected}], got [{','.join(map(str, shape))}]"
        )
    return shape


def _files(tensor: InputTensor, array: np.ndarray) -> list[bytes]:
    """Return the image files in *array*, that of *tensor*: a row each."""
    if tensor.shape[1:] not in ((), (1,)) or array.size == 0:
        raise FeedError(
            f"input {tensor.name!r}: images have the shape [n] or [n,1], a row each, "
            f"not {list(tensor.shape)}"
        )
    files: list[bytes] = array.reshape(-1).tolist()
    return files


def raw_feed(model: ServedModel, body: bytes) -> Feed:
    """
    Return the feed of one row of which *body* has the bytes of its only input, or an image file.

    Raises `FeedError` if the model has other inputs, or if the shape does not follow from the
    length of *body*; also the errors of `feed_of`.
    """
    signature = model.signatures[model.default]
    if model.image_input is not None and image_format(body) is not None:
        return model.prepare_image(body)
    if len(signature.inputs) != 1:
        raise FeedError(
            f"a raw binary request is for models with one input, {model.name!r} has "
            f"{len(signature.inputs)}"
        )
    (spec,) = signature.inputs
    if spec.dtype == STRING:
        if model.takes_files_for(signature):
            return model.prepare_image(image_file(body))
        array = np.empty((1,) * max(1, len(spec.shape or ())), STRING)
        array.fill(body)
        return model.prepare_tensors(signature, {spec.name: array})
    shape = _raw_shape(spec, len(body), batched=signature.batched)
    if model.takes_files_for(signature) and prod(shape) * spec.dtype.itemsize != len(body):
        return model.prepare_image(body)  # whose error states what the body is
    return model.prepare_tensors(
        signature, {spec.name: from_bytes(spec.name, spec.dtype, shape, body, 0, len(body))}
    )


def _raw_shape(spec: TensorSpec, length: int, *, batched: bool) -> tuple[int, ...]:
    """
    Return the shape of a tensor of *spec* in *length* bytes: one row, and at most one open axis.
    """
    sizes: list[int | None] = list(spec.shape if spec.shape is not None else (None,))
    if batched:
        sizes[0] = 1
    known = prod(size for size in sizes if size is not None)
    if sizes.count(None) > 1:
        raise FeedError(f"a raw binary request cannot state the shape of {spec.name!r}: {spec}")
    per_step = known * spec.dtype.itemsize
    rest = length // per_step if per_step else 0
    return tuple(rest if size is None else size for size in sizes)
