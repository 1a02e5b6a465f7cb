"""
The operations of one model that is served: its paths, the tensors of its signatures, and examples.

Each dialect has one operation, for the default version.  Pure.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from model.signature import Feed, Signature, TensorSpec
from server.api.json_tensors import value_of
from server.api.kserve.datatypes import BINARY_ONLY, DATATYPES, datatype_of
from server.api.openapi.kserve import infer_operation
from server.api.openapi.native import IMAGE_BODIES, inference_operation, show_operation
from server.api.openapi.parts import TEXT, Json, array, one_of, record, schema
from server.api.openapi.tensor_schemas import (
    Element,
    element_in,
    element_out,
    finite_element_in,
    row,
    tensor,
)
from server.api.openapi.tfserving import predict_operation
from server.api.samples import SAMPLE_IMAGE, is_short, sample_feed, sample_request
from server.http.messages import Operation
from server.served_model import ServedModel

#: An image in JSON, and several.
_IMAGE_TEXT = one_of(schema("EncodedBytes"), TEXT)
_IMAGES: Json = {**array(_IMAGE_TEXT), "minItems": 1}

_IMAGE = {"b64": b64encode(SAMPLE_IMAGE).decode()}


def operations_of(model: ServedModel) -> tuple[tuple[str, Operation], ...]:
    """
    Return the operations of *model*, each with its method.

    They are all that its paths have: a path without braces hides one with braces that fits it.
    """
    name = quote(model.name, safe="")
    samples = {
        each.name: sample_feed(each, model.image_input, model.samples)
        for each in model.signatures.values()
    }
    short = {
        name: sample
        for name, sample in samples.items()
        if isinstance(sample, Feed) and is_short(sample)
    }
    native = f"/models/{name}"
    return (
        ("GET", show_operation(native, f"showModel_{model.name}", f"Report on {model.name}.")),
        ("POST", _native(native, model, short)),
        ("POST", _tfserving(f"/v1/models/{name}:predict", model, short)),
        ("POST", _v2(f"/v2/models/{name}/infer", model, short)),
    )


def _body(schemas: Iterable[Json], examples: Mapping[str, object]) -> Json:
    body: dict[str, Any] = {"schema": one_of(*schemas)}
    if examples:
        body["examples"] = {key: {"value": value} for key, value in examples.items()}
    return body


def _named(signature: Signature, model: ServedModel) -> dict[str, str]:
    """Return what a request adds to name *signature*."""
    return {} if signature.name == model.default else {"signature_name": signature.name}


def _record(model: ServedModel, signature: Signature, properties: Json) -> Json:
    """Return the schema of a request for *signature* with *properties*."""
    name = {"signature_name": {"const": signature.name}}
    optional = name if signature.name == model.default else ()
    return {
        **record({**properties, **name}, optional=optional),
        # Generators of clients name classes for titles, which must differ in one operation.
        "title": f"{signature.name} {' '.join(properties)}",
        "additionalProperties": False,
    }


def _inputs(model: ServedModel, signature: Signature, element: Element) -> Json:
    """Return the schema of the inputs of *signature*: by name, or the value of the only one."""
    images = model.takes_images_for(signature)
    values = {
        spec.name: one_of(tensor(spec, element), _IMAGES, _IMAGE_TEXT)
        if images
        else tensor(spec, element)
        for spec in signature.inputs
    }
    return one_of(*_forms(values))


def _rows(model: ServedModel, signature: Signature) -> Json:
    """Return the schema of the rows of *signature*, in the dialect of TensorFlow Serving."""
    images = model.takes_images_for(signature)
    rows = {
        spec.name: one_of(row(spec, element_in), _IMAGE_TEXT) if images else row(spec, element_in)
        for spec in signature.inputs
    }
    return one_of(*({**array(each), "minItems": 1} for each in _forms(rows)))


def _forms(values: Json) -> list[Json]:
    """Return the schemas of an object of *values*, and of the value if there is only one."""
    by_name = {**record(values), "additionalProperties": False}
    return [by_name, *values.values()] if len(values) == 1 else [by_name]


def _outputs(signature: Signature) -> Json:
    return record({spec.name: tensor(spec, element_out) for spec in signature.outputs})


def _native(path: str, model: ServedModel, samples: Mapping[str, Feed]) -> Operation:
    signatures = model.signatures.values()
    bodies = [
        _record(model, it, {"inputs": _inputs(model, it, finite_element_in)}) for it in signatures
    ]
    examples: dict[str, object] = {
        name: json.loads(sample_request(sample, model.default)) for name, sample in samples.items()
    }
    images = model.image_input is not None
    if images:
        bodies += [schema("EncodedBytes"), TEXT]
        examples["an image"] = _IMAGE
    answers: list[Json] = [
        {**record({"outputs": _outputs(it)}), "title": f"{it.name} answer"} for it in signatures
    ]
    if images:
        image = schema("Labels" if model.labels else "Outputs")
        answers += [image] if model.labels else []
        answers.append(array(one_of(image, schema("ImageError"))))
    return inference_operation(
        path,
        f"predict_{model.name}",
        f"Run {model.name}.",
        body={
            "application/json": _body(bodies, examples),
            **(IMAGE_BODIES if images else {}),
        },
        content=one_of(*answers),
        has_labels=images and bool(model.labels),
    )


def _tfserving(path: str, model: ServedModel, samples: Mapping[str, Feed]) -> Operation:
    bodies: list[Json] = []
    examples: dict[str, object] = {}
    for signature in model.signatures.values():
        inputs = _inputs(model, signature, element_in)
        bodies.append(_record(model, signature, {"inputs": inputs}))
        if signature.batched:
            bodies.append(_record(model, signature, {"instances": _rows(model, signature)}))
        named = _named(signature, model)
        if signature.inputs and signature.name in samples:
            values = _values(samples[signature.name])
            examples[signature.name] = {"inputs": values, **named}
        if model.takes_images_for(signature):
            examples[f"an image for {signature.name}"] = {"instances": [_IMAGE], **named}
    return predict_operation(
        path,
        f"tfPredict_{model.name}",
        f"Run {model.name}.",
        body=_body(bodies, examples),
        content=one_of(schema("TFServingPredictions"), schema("TFServingOutputs")),
    )


def _values(sample: Feed) -> dict[str, object]:
    """Return the values of *sample* by the names of the inputs, as JSON."""
    content: dict[str, object] = json.loads(sample_request(sample, sample.signature.name))["inputs"]
    return content


def _v2(path: str, model: ServedModel, samples: Mapping[str, Feed]) -> Operation:
    examples: dict[str, object] = {}
    for signature in model.signatures.values():
        named = _named(signature, model)
        more: dict[str, object] = {"parameters": named} if named else {}
        if not _fits_json(signature.outputs):
            continue
        if signature.name in samples and _fits_json(signature.inputs):
            inputs = [
                _v2_input(spec.name, datatype_of(spec.dtype), array.shape, value_of(spec, flat))
                for spec, array in zip(
                    signature.inputs, samples[signature.name].arrays, strict=True
                )
                for flat in [array.reshape(-1)]
            ]
            examples[signature.name] = {"inputs": inputs, **more}
        if model.takes_images_for(signature):
            image = _v2_input(signature.inputs[0].name, "BYTES", (1,), [_IMAGE["b64"]])
            examples[f"an image for {signature.name}"] = {"inputs": [image], **more}
    return infer_operation(
        path,
        f"v2Infer_{model.name}",
        f"Run {model.name}.",
        body=_body([_v2_request(model)], examples),
        content=schema("V2Answer"),
    )


def _fits_json(specs: Iterable[TensorSpec]) -> bool:
    """Whether the protocol has *specs* as JSON."""
    return {datatype_of(spec.dtype) for spec in specs} <= DATATYPES - BINARY_ONLY


def _v2_input(name: str, datatype: str, shape: Iterable[int], data: object) -> Json:
    return {"name": name, "datatype": datatype, "shape": list(shape), "data": data}


def _v2_request(model: ServedModel) -> Json:
    """Return the schema of a request to *model*, with the names of its inputs."""
    named = {
        spec.name: {"title": str(spec)}
        for signature in model.signatures.values()
        for spec in signature.inputs
    }
    inputs = {"properties": {"inputs": array({"properties": {"name": {"enum": list(named)}}})}}
    return {"allOf": [schema("V2Request"), inputs]}
