"""
Show what a request for a signature looks like.

Pure; imports neither Twisted nor TensorFlow.
"""

import json
import shlex
from math import prod

from model.signature import STRING, Signature, TensorSpec

#: Numbers in a sample that is still written out.
FEW = 64


def sample_request(signature: Signature, default: str) -> str:
    """
    Return the JSON of a request of one row, which names *signature* unless it is the *default*.

    An input of many numbers is told by its dtype and shape in angle brackets instead.
    """
    written = {
        spec.name: _value(spec) if _count(spec) <= FEW else f"<{spec}>" for spec in signature.inputs
    }
    return json.dumps(_envelope(written, signature, default))


def sample_command(signature: Signature, default: str, address: str) -> str:
    """Return a shell command that posts a request of one row of zeros to *address*."""
    if all(_count(spec) <= FEW for spec in signature.inputs):
        return f"curl -d {shlex.quote(sample_request(signature, default))} {address}"
    inputs = ", ".join(f"{json.dumps(spec.name)}: {_expression(spec)}" for spec in signature.inputs)
    named = "" if signature.name == default else f', "signature_name": {json.dumps(signature.name)}'
    program = f'import json; print(json.dumps({{"inputs": {{{inputs}}}{named}}}))'
    return f"python3 -c {shlex.quote(program)} | curl -d @- {address}"


def _envelope(inputs: dict[str, object], signature: Signature, default: str) -> dict[str, object]:
    envelope: dict[str, object] = {"inputs": inputs}
    if signature.name != default:
        envelope["signature_name"] = signature.name
    return envelope


def _sizes(spec: TensorSpec) -> list[int]:
    return [1 if size is None else size for size in spec.shape or ()]


def _count(spec: TensorSpec) -> int:
    return prod(_sizes(spec))


def _element(spec: TensorSpec) -> object:
    if spec.dtype == STRING:
        return "text"
    return {"b": False, "i": 0, "u": 0}.get(spec.dtype.kind, 0.0)


def _value(spec: TensorSpec) -> object:
    value = _element(spec)
    for size in reversed(_sizes(spec)):
        value = [value] * size
    return value


def _expression(spec: TensorSpec) -> str:
    """Return the value as Python writes it, short however large it is."""
    expression = repr(_element(spec)).replace("'", '"')
    for size in reversed(_sizes(spec)):
        expression = f"[{expression}]" if size == 1 else f"[{expression}] * {size}"
    return expression
