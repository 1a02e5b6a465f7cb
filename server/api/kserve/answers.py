"""
Write the answer to a request for inference in the v2 protocol.

Outputs are JSON or bytes, as the request wishes; an output with classes becomes text.  Runs on the
reactor thread, or on a decode thread if the outputs are large.
"""

from collections.abc import Sequence

import numpy as np

from model.signature import STRING, FeedError, Signature, TensorSpec
from server.api.json_tensors import has_tokens, value_of
from server.api.json_text import write_json
from server.api.kserve.datatypes import BINARY_ONLY, DATATYPES, datatype_of, to_bytes
from server.api.kserve.envelope import Envelope, OutputWish
from server.call import Outputs
from server.http.messages import HTTPResponse
from server.served_model import ServedModel

#: The header with the length of the JSON part of a body, in bytes.
JSON_LENGTH = "Inference-Header-Content-Length"

_BYTES = TensorSpec("", STRING, None)


def check_wishes(model: ServedModel, signature: Signature, envelope: Envelope) -> None:
    """
    Raise `FeedError` if an output that *envelope* asks for cannot be written.

    *signature* is the one that runs.  Called before the run, which would be useless.
    """
    specs = {spec.name: spec for spec in signature.outputs}
    names: set[str] = set()
    for wish in _wishes(signature, envelope):
        spec = specs.get(wish.name)
        if wish.name in names:  # each more would make the answer longer
            raise FeedError(f"output {wish.name[:80]!r} is asked for twice")
        names.add(wish.name)
        if spec is None:
            raise FeedError(
                f"unexpected inference output {wish.name[:80]!r} for model {model.name!r}"
            )
        datatype = datatype_of(spec.dtype)
        if datatype not in DATATYPES:
            raise FeedError(f"output {wish.name!r}: there is no datatype for {spec.type_name}")
        if wish.classes:
            if datatype in {"BYTES", "BOOL"}:
                raise FeedError(f"output {wish.name!r}: {datatype} has no classes")
        elif datatype in BINARY_ONLY and not wish.binary:
            raise FeedError(
                f"{datatype} data of output {wish.name!r} cannot be sent as JSON: "
                "ask for it in binary"
            )


def _wishes(signature: Signature, envelope: Envelope) -> Sequence[OutputWish]:
    return envelope.outputs or [
        OutputWish(spec.name, envelope.binary) for spec in signature.outputs
    ]


def answer_of(model: ServedModel, envelope: Envelope, outputs: Outputs) -> HTTPResponse:
    """Return the answer with *outputs*, as *envelope*, which `check_wishes` has checked, wishes."""
    signature = outputs.signature
    places = {spec.name: index for index, spec in enumerate(signature.outputs)}
    entries: list[dict[str, object]] = []
    binary: list[bytes | memoryview] = []
    tokens = False
    for wish in _wishes(signature, envelope):
        index = places[wish.name]
        spec, array = signature.outputs[index], np.asarray(outputs.arrays[index])
        if wish.classes:
            spec, array = _BYTES, _classes(model, outputs, index, wish.classes)
        entry: dict[str, object] = {
            "name": wish.name,
            "datatype": datatype_of(spec.dtype),
            "shape": list(array.shape),
        }
        if wish.binary:
            data = to_bytes(array)
            entry["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            entry["data"] = value_of(spec, array.reshape(-1))
            tokens = tokens or has_tokens(array)
        entries.append(entry)
    content: dict[str, object] = {"model_name": model.name, "model_version": model.version}
    if envelope.id is not None:
        content["id"] = envelope.id
    header = write_json({**content, "outputs": entries}, tokens=tokens)
    if not binary:
        return HTTPResponse(200, header)
    return HTTPResponse(
        200,
        b"".join([header, *binary]),
        {JSON_LENGTH: str(len(header))},
        "application/octet-stream",
    )


def _classes(model: ServedModel, outputs: Outputs, index: int, count: int) -> np.ndarray:
    """
    Return the *count* best classes in each row of the output *index*, or all if there are fewer.

    Each is the text ``score:class``, with its label after another colon if the output is the scores
    of the model's labels.  The best is first; equal scores keep their order.
    """
    signature, array = outputs.signature, outputs.arrays[index]
    batched = signature.batched and array.ndim > 0
    scores = array.astype(np.float64).reshape(len(array) if batched else 1, -1)
    labels: tuple[str, ...] = ()
    image_input = model.image_input
    if (
        image_input is not None
        and index == image_input.scores
        and signature.outputs == image_input.signature.outputs
    ):
        labels = model.labels
        if image_input.two_classes:
            scores = np.concatenate([1 - scores, scores], axis=1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    chosen = np.take_along_axis(scores, best, axis=1)
    form = ".0f" if array.dtype.kind in "iu" else "f"
    ends = [f"{at}:{label}" for at, label in enumerate(labels)]
    ends += map(str, range(len(labels), scores.shape[1]))
    texts = np.empty(best.size, STRING)
    texts[:] = [
        f"{score:{form}}:{ends[at]}".encode()
        for score, at in zip(chosen.reshape(-1).tolist(), best.reshape(-1).tolist(), strict=True)
    ]
    return texts.reshape(best.shape if batched else -1)
