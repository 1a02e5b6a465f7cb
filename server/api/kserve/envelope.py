"""
Read the JSON part of a request for inference in the v2 protocol.

Checks everything that does not depend on the model: names, types, shapes, parameters.  Pure; the
values of the tensors stay as they were parsed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from batcher.priority import Priority
from model.signature import FeedError
from server.api.json_tensors import described
from server.api.json_text import as_list
from server.api.kserve.datatypes import DATATYPES, MAX_AXES
from server.api.request_options import MAX_TIMEOUT_MS
from server.call import RequestOptions

#: The largest size of an axis: one that no tensor in memory exceeds.
_MAX_AXIS = 1 << 40

_LEVELS = {1: Priority.HIGH, 2: Priority.NORMAL}

_MAX_TIMEOUT_SECONDS = MAX_TIMEOUT_MS / 1e3


@dataclass(frozen=True, slots=True)
class InputTensor:
    """One of the inputs of a request."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: object = None  #: the parsed JSON; None for a binary tensor
    size: int | None = None  #: the bytes of a binary tensor; None for JSON


@dataclass(frozen=True, slots=True)
class OutputWish:
    """One of the outputs that a request asks for."""

    name: str
    binary: bool
    classes: int = 0  #: the number of classes to answer for each row; 0: the tensor itself


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request for inference, without the bytes of its binary tensors."""

    inputs: tuple[InputTensor, ...] = ()
    outputs: tuple[OutputWish, ...] = ()  #: empty: all outputs
    binary: bool = False  #: whether outputs are binary that are not in `outputs`
    id: str | None = None
    signature_name: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)

    def apply(self, options: RequestOptions, received: float) -> None:
        """
        Change *options* to the priority and the timeout of the request, if it has them.

        The timeout counts from *received*, when the head was received.
        """
        priority, timeout = (_whole(self.parameters, key) for key in ("priority", "timeout"))
        if priority:
            options.priority = _LEVELS.get(priority, Priority.LOW)
        if timeout:
            options.since = received
            options.timeout = min(timeout / 1e6, _MAX_TIMEOUT_SECONDS)


def read_envelope(content: object) -> Envelope:
    """Return the request in *content*, parsed JSON; raises `FeedError` for any other JSON."""
    document = _object(content, "the request")
    parameters = _parameters(document, "the request")
    for key in parameters:
        if key.startswith("triton_"):
            raise FeedError(f"parameter {key[:80]!r} is reserved: no name begins with triton_")
    identifier = document.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise FeedError(f"id: expected a string, got {described(identifier)}")
    name = parameters.get("signature_name")
    if name is not None and not isinstance(name, str):
        raise FeedError(f"signature_name: expected a string, got {described(name)}")
    binary = _flag(parameters, "binary_data_output", default=False)
    outputs = document.get("outputs")
    return Envelope(
        inputs=tuple(_input(each) for each in _list(document.get("inputs"), "inputs")),
        outputs=()
        if outputs is None
        else tuple(_output(each, binary) for each in _list(outputs, "outputs")),
        binary=binary,
        id=identifier,
        signature_name=name,
        parameters=parameters,
    )


def _input(value: object) -> InputTensor:
    tensor = _object(value, "an input")
    name = _name(tensor, "an input")
    where = f"input {name[:80]!r}"
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise FeedError(f"{where}: invalid datatype {described(datatype)}")
    shape = as_list(tensor.get("shape"))
    if shape is None or len(shape) > MAX_AXES:
        raise FeedError(f"{where}: expected as shape a list of up to {MAX_AXES} whole numbers")
    wrong = [it for it in shape if type(it) is not int or not 0 <= it <= _MAX_AXIS]
    if wrong:
        raise FeedError(f"{where}: no axis of shape can have the size {described(wrong[0])}")
    parameters = _parameters(tensor, where)
    if "shared_memory_region" in parameters:
        raise FeedError(f"{where}: this server has no shared memory; send the data")
    byte_size = _whole(parameters, "binary_data_size")
    data = tensor.get("data")
    if byte_size is not None and "data" in tensor:
        raise FeedError(f"{where} has both data and binary_data_size")
    if byte_size is None and data is None:
        raise FeedError(f"{where} has neither data nor binary_data_size")
    sizes = tuple(cast("list[int]", shape))
    return InputTensor(name, datatype, sizes, data, byte_size)


def _output(value: object, binary: bool) -> OutputWish:
    tensor = _object(value, "an output")
    name = _name(tensor, "an output")
    parameters = _parameters(tensor, f"output {name[:80]!r}")
    if "shared_memory_region" in parameters:
        raise FeedError(f"output {name[:80]!r}: this server has no shared memory")
    return OutputWish(
        name,
        _flag(parameters, "binary_data", default=binary),
        _whole(parameters, "classification") or 0,
    )


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise FeedError(f"{what}: expected an object, got {described(value)}")
    return value


def _list(value: object, what: str) -> list[object]:
    values = as_list(value)
    if values is None:
        raise FeedError(f"{what}: expected a list, got {described(value)}")
    return values


def _name(tensor: Mapping[str, object], what: str) -> str:
    name = tensor.get("name")
    if not isinstance(name, str):
        raise FeedError(f"{what}: expected a string as name, got {described(name)}")
    return name


def _parameters(owner: Mapping[str, object], what: str) -> dict[str, object]:
    """Return the parameters of *owner*; each is a string, a number or a boolean."""
    value = owner.get("parameters")
    if value is None:
        return {}
    parameters = _object(value, f"parameters of {what}")
    for key, each in parameters.items():
        if not isinstance(each, str | int | float):
            raise FeedError(
                f"parameter {key[:80]!r} of {what}: expected a string, a number or a boolean, "
                f"got {described(each)}"
            )
    return parameters


def _whole(parameters: Mapping[str, object], key: str) -> int | None:
    value = parameters.get(key)
    if value is not None and (type(value) is not int or value < 0):
        raise FeedError(f"{key}: expected a whole number from 0, got {described(value)}")
    return value


def _flag(parameters: Mapping[str, object], key: str, *, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise FeedError(f"{key}: expected true or false, got {described(value)}")
    return value
