"""Fakes and makers of test data that several test modules share."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Global:
    """A name that a pickle looks up."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """A call that a pickle makes."""

    function: Global
    arguments: tuple[object, ...]


@dataclass(frozen=True)
class Persistent:
    """Something that a pickle leaves to its reader."""

    identity: object


def pickled(value: object) -> bytes:
    """Return *value* as a pickle written by hand, so that it may name what is not installed."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: object) -> bytes:
    match value:
        case Global(module, name):
            code = f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            code = _opcodes(function) + _opcodes(arguments) + b"R"
        case Persistent(identity):
            code = _opcodes(identity) + b"Q"
        case tuple():
            code = b"(" + b"".join(map(_opcodes, value)) + b"t"
        case list():
            code = b"](" + b"".join(map(_opcodes, value)) + b"e"
        case dict():
            items = b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items())
            code = b"}(" + items + b"u"
        case _:
            code = pickle.dumps(value, 2)[2:-1]  # without the protocol and the stop
    return code


def torch_tensor(
    key: str,
    count: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *,
    offset: int = 0,
    kind: str = "FloatStorage",
) -> Call:
    """Return a tensor as ``torch.save`` pickles it: a view of the storage named *key*."""
    storage = Persistent(("storage", Global("torch", kind), key, "cpu", count, None))
    hooks = Call(Global("collections", "OrderedDict"), ())
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, (storage, offset, shape, strides, False, hooks))


def torch_file(
    value: object,
    storages: Mapping[str, npt.NDArray[np.generic]],
    *,
    magic_number: object = 0x1950A86A20F9469CFC6C,
    protocol: int = 1001,
) -> bytes:
    """Return a legacy ``torch.save`` file of *value* and the *storages* that it views."""
    pickles = (magic_number, protocol, {"little_endian": True}, value, list(storages))
    numbers = (
        array.size.to_bytes(8, "little") + np.ascontiguousarray(array).tobytes()
        for array in storages.values()
    )
    return b"".join(map(pickled, pickles)) + b"".join(numbers)


def torch_weights_file(weights: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """Return a legacy ``torch.save`` file of contiguous float32 arrays by name."""
    return torch_file(
        {
            name: torch_tensor(
                name, array.size, array.shape, tuple(step // 4 for step in array.strides)
            )
            for name, array in weights.items()
        },
        weights,
    )
