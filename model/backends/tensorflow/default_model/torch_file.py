"""
Read the arrays of a legacy ``torch.save`` file without torch.

Such a file is five pickles, one after the other (a magic number, the protocol, facts of the
machine, the object, the keys of the storages), then for each key a count and that many raw
little-endian numbers.  A pickle can call any function that it names, so a short list of names is
allowed and every other name is refused; torch is never imported.  Pure: bytes in, arrays out.
Imports no TensorFlow.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from math import prod

import numpy as np
import numpy.typing as npt

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

_ZIP_SIGNATURE = b"PK\x03\x04"
_COUNT_BYTES = 8
_MAX_DIMENSIONS = 32
_STORAGE_DTYPES: dict[str, np.dtype[np.generic]] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("<i1"),
    "ByteStorage": np.dtype("<u1"),
    "BoolStorage": np.dtype("?"),
}


class TorchFileError(ValueError):
    """The bytes are not a legacy torch.save file of a flat mapping to tensors."""


class ForbiddenGlobalError(TorchFileError):
    """The file names a class or function that a file of tensors does not need."""

    def __init__(self, module: str, name: str) -> None:
        super().__init__(f"the file asks for {module}.{name}, which is not allowed")
        self.module = module
        self.name = name


@dataclass(frozen=True, slots=True)
class _Storage:
    """One array of raw numbers, which the file holds behind its pickles."""

    key: str
    dtype: np.dtype[np.generic]
    count: int


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor as the pickle describes it; offset and strides count elements of the storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(data: bytes) -> dict[str, npt.NDArray[np.generic]]:
    """
    Return the tensors of a legacy ``torch.save`` file by name.

    Each array is a separate, contiguous copy with the dtype and shape in the file.
    Raises ForbiddenGlobalError if the file names a class or function that tensors
    do not need, and TorchFileError if it is of another format, cut short or
    inconsistent.  May run in any thread.
    """
    if data.startswith(_ZIP_SIGNATURE):
        raise TorchFileError("this torch.save file is of the newer zip format, not the legacy one")
    stream = BytesIO(data)
    magic_number, _ = _read_pickle(stream, "magic number")
    if magic_number != MAGIC_NUMBER:
        raise TorchFileError(f"not a torch.save file: magic number {magic_number!r}")
    protocol, _ = _read_pickle(stream, "protocol")
    if protocol != PROTOCOL:
        raise TorchFileError(f"torch.save protocol {protocol!r}, not {PROTOCOL}")
    _read_pickle(stream, "system information")
    tensors, storages = _read_pickle(stream, "object")
    keys, _ = _read_pickle(stream, "list of storages")
    starts = _locate_storages(data, stream.tell(), keys, storages)
    if not isinstance(tensors, dict):
        raise TorchFileError(f"the file holds a {type(tensors).__name__}, not tensors by name")
    return {
        _checked_name(name): _copy_view(data, starts, str(name), view)
        for name, view in tensors.items()
    }


class _TensorUnpickler(pickle.Unpickler):
    """Reads one pickle; replaces each allowed name by an object that runs nothing of torch."""

    def __init__(self, stream: BytesIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Callable[..., object] | str:
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                return _rebuild_tensor
            case "torch._utils", "_rebuild_parameter":
                return _rebuild_parameter
            case "torch", _ if name in _STORAGE_DTYPES:
                return name  # a plain string, which a pickle cannot change
        raise ForbiddenGlobalError(module, name)

    def persistent_load(self, pid: object) -> _Storage:
        match pid:
            # The last item is a view into another storage; torch no longer writes such views.
            case ("storage", str(kind), str(key), _, count, *view) if (
                kind in _STORAGE_DTYPES and view in ([], [None])
            ):
                storage = _Storage(key, _STORAGE_DTYPES[kind], _count(count))
            case _:
                raise TorchFileError(f"a storage is described as {pid!r}")
        if self.storages.setdefault(key, storage) != storage:
            raise TorchFileError(f"storage {key} is described in two ways")
        return storage


def _rebuild_tensor(
    storage: object, offset: object, shape: object, strides: object, *_autograd: object
) -> _View:
    """Called by a pickle instead of torch's `_rebuild_tensor_v2`: return a view of *storage*."""
    if not isinstance(storage, _Storage):
        raise TorchFileError(f"a tensor refers to {storage!r}, which is not a storage")
    view = _View(storage, _count(offset), _counts(shape), _counts(strides))
    if len(view.shape) != len(view.strides) or len(view.shape) > _MAX_DIMENSIONS:
        raise TorchFileError(f"a tensor has shape {view.shape} and strides {view.strides}")
    return view


def _rebuild_parameter(tensor: object, *_autograd: object) -> object:
    """Called by a pickle instead of torch's function: return *tensor*, the parameter's value."""
    return tensor


def _count(number: object) -> int:
    if type(number) is not int or number < 0:
        raise TorchFileError(f"a tensor has {number!r} where a count is expected")
    return number


def _counts(numbers: object) -> tuple[int, ...]:
    if not isinstance(numbers, tuple):
        raise TorchFileError(f"a tensor has {numbers!r} where counts are expected")
    return tuple(map(_count, numbers))


def _read_pickle(stream: BytesIO, what: str) -> tuple[object, dict[str, _Storage]]:
    """
    Return the object in the next pickle of *stream*, and the storages that it refers to, by key.

    *what* names the pickle in an error message.
    """
    unpickler = _TensorUnpickler(stream)
    try:
        return unpickler.load(), unpickler.storages
    except TorchFileError:
        raise
    except Exception as error:  # a damaged pickle may raise anything, by its documentation
        raise TorchFileError(f"the {what} cannot be read: {error!r}") from error


def _locate_storages(
    data: bytes, position: int, keys: object, storages: dict[str, _Storage]
) -> dict[str, int]:
    """
    Return, by the key of each storage, the byte of *data* at which its numbers begin.

    *position* is the first byte after the pickles, *keys* are the storages that the file lists, and
    *storages* those that its tensors use.  Raises TorchFileError if the two differ or a count is
    wrong.
    """
    if not isinstance(keys, list) or sorted(keys, key=repr) != sorted(storages, key=repr):
        raise TorchFileError(f"the storages used, {list(storages)}, are not those listed, {keys}")
    starts = {}
    for key in keys:
        storage = storages[key]
        start = position + _COUNT_BYTES
        count = int.from_bytes(data[position:start], "little", signed=True)
        position = start + storage.count * storage.dtype.itemsize
        if position > len(data):
            raise TorchFileError(
                f"the file is cut short: storage {key} needs {position} bytes, "
                f"the file has {len(data)}"
            )
        if count != storage.count:
            raise TorchFileError(f"storage {key} has {count} numbers, not {storage.count}")
        starts[key] = start
    if position != len(data):
        raise TorchFileError(f"{len(data) - position} bytes follow the last storage")
    return starts


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise TorchFileError(f"a tensor is named {name!r}, not by a string")
    return name


def _copy_view(
    data: bytes, starts: dict[str, int], name: str, view: object
) -> npt.NDArray[np.generic]:
    """
    Return the numbers of *view* as an array of its own; raises TorchFileError.

    *starts* is the result of `_locate_storages`; *name* names the tensor in an error message.
    """
    if not isinstance(view, _View):
        raise TorchFileError(f"{name} is a {type(view).__name__}, not a tensor")
    storage, dtype, shape = view.storage, view.storage.dtype, view.shape
    if 0 in shape:
        return np.empty(shape, dtype)
    last = view.offset + sum((n - 1) * step for n, step in zip(shape, view.strides, strict=True))
    # The second condition refuses a stride of 0: one number could be repeated until memory is full.
    if last >= storage.count or prod(shape) > storage.count:
        raise TorchFileError(
            f"{name} of shape {shape}, strides {view.strides} at {view.offset} "
            f"does not fit its storage of {storage.count} numbers"
        )
    # The stride of an axis of size 1 is not used, and may be any number.
    steps = tuple(
        step * dtype.itemsize if n > 1 else 0 for n, step in zip(shape, view.strides, strict=True)
    )
    start = starts[storage.key] + view.offset * dtype.itemsize
    return np.ndarray(shape, dtype, data, start, steps).copy()
