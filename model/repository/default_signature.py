"""Choose the signature of requests that name none.  Pure."""

from collections.abc import Sequence
from difflib import get_close_matches

from model.errors import ModelError
from model.repository.model_toml import ModelFacts
from model.signature import Signature


def default_signature(signatures: Sequence[Signature], facts: ModelFacts) -> Signature:
    """
    Return the signature for images, and for requests that name no signature.

    It is the one that *facts* name, else the first of *signatures*.  Raises `ModelError` if *facts*
    name a signature, input or output that is absent.
    """
    by_name = {signature.name: signature for signature in signatures}
    if facts.signature is None:
        chosen = signatures[0]
    elif facts.signature in by_name:
        chosen = by_name[facts.signature]
    else:
        near = get_close_matches(facts.signature, by_name, n=3, cutoff=0.4) or list(by_name)
        raise ModelError(f"no signature {facts.signature!r}; similar names: {', '.join(near)}")
    for side, given, specs in (
        ("input", facts.input, chosen.inputs),
        ("output", facts.output, chosen.outputs),
    ):
        names = [spec.name for spec in specs]
        name = given and given.removesuffix(":0")
        if name and name not in names:
            raise ModelError(
                f"signature {chosen.name!r} has no {side} {name!r}; it has {', '.join(names)}"
            )
    return chosen
