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

#: A white PNG of 2 x 2 pixels, for whoever takes encoded pictures.
PICTURE = {
    "b64": "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR42mP8//8/AwMDEwMDAwMDAwAk"
    "BgMB/umWrAAAAABJRU5ErkJggg=="
}


def sample_request(signature: Signature, default: str, string: object = "text") -> str:
    """
    Return the JSON of a request of one row, which names *signature* unless it is the *default*.

    Each *string* in it is the one given, as JSON has it, such as `PICTURE`.
    An input of many numbers is told by its dtype and shape in angle brackets instead.
    """
    written = {
        spec.name: _value(spec, string) if is_short(spec) else f"<{spec}>"
        for spec in signature.inputs
    }
    named = {} if signature.name == default else {"signature_name": signature.name}
    return json.dumps({"inputs": written, **named})


def sample_command(
    signature: Signature, default: str, address: str, string: object = "text"
) -> str:
    """Return a shell command that posts a request as `sample_request` has it to *address*."""
    if all(map(is_short, signature.inputs)):
        return f"curl -d {shlex.quote(sample_request(signature, default, string))} {address}"
    inputs = ", ".join(
        f"{json.dumps(spec.name)}: {_expression(spec, string)}" for spec in signature.inputs
    )
    named = "" if signature.name == default else f', "signature_name": {json.dumps(signature.name)}'
    program = f'import json; print(json.dumps({{"inputs": {{{inputs}}}{named}}}))'
    return f"python3 -c {shlex.quote(program)} | curl -d @- {address}"


def _sizes(spec: TensorSpec) -> list[int]:
    return [1 if size is None else size for size in spec.shape or ()]


def is_short(spec: TensorSpec) -> bool:
    """Whether a value of *spec* is written out in a sample."""
    return _count(spec) <= FEW


def _count(spec: TensorSpec) -> int:
    return prod(_sizes(spec))


def _element(spec: TensorSpec, string: object) -> object:
    if spec.dtype == STRING:
        return string
    return {"b": False, "i": 0, "u": 0}.get(spec.dtype.kind, 0.0)


def _value(spec: TensorSpec, string: object) -> object:
    value = _element(spec, string)
    for size in reversed(_sizes(spec)):
        value = [value] * size
    return value


def _expression(spec: TensorSpec, string: object) -> str:
    """Return the value as Python writes it, short however large it is."""
    expression = repr(_element(spec, string)).replace("'", '"')
    for size in reversed(_sizes(spec)):
        expression = f"[{expression}]" if size == 1 else f"[{expression}] * {size}"
    return expression
