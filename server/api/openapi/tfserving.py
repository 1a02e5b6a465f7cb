"""
The operations of TensorFlow Serving's REST API, and of version 1 of KServe's protocol.

Pure.
"""

from server.api.openapi.parts import (
    ANY_REQUEST,
    FLAG,
    INFERENCE,
    LIST,
    OBJECT,
    OPTIONS,
    TEXT,
    TF_SERVING,
    Json,
    array,
    inferred,
    one_of,
    operation,
    record,
    report,
    schema,
)
from server.api.tfserving.paths import described_paths
from server.http.messages import Operation

_SIGNATURE = {"signature_name": {**TEXT, "description": "The default signature without it."}}

#: The schemas that these operations refer to.
SCHEMAS: Json = {
    "TFServingRows": record(
        {"instances": {**LIST, "minItems": 1}, **_SIGNATURE}, optional=_SIGNATURE
    ),
    "TFServingColumns": record(
        {"inputs": {"description": "Whole tensors by the names of the inputs."}, **_SIGNATURE},
        optional=_SIGNATURE,
    ),
    "TFServingExamples": record(
        {
            "examples": {"type": "array", "items": OBJECT, "minItems": 1},
            "context": {**OBJECT, "description": "Features that all examples share."},
            **_SIGNATURE,
        },
        optional=(*_SIGNATURE, "context"),
    ),
    "TFServingPredictions": record({"predictions": LIST}),
    "TFServingOutputs": record({"outputs": {"description": "One tensor, or tensors by name."}}),
    "TFServingResults": record({"results": LIST}),
    "TFServingStatus": record(
        {
            "model_version_status": array(
                record(
                    {
                        "version": TEXT,
                        "state": {
                            **TEXT,
                            "enum": ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"],
                        },
                        "status": record({"error_code": TEXT, "error_message": TEXT}),
                    }
                )
            ),
            "name": TEXT,
            "ready": FLAG,
        }
    ),
    "TFServingMetadata": record(
        {
            "model_spec": record({"name": TEXT, "signature_name": TEXT, "version": TEXT}),
            "metadata": OBJECT,
        }
    ),
}

_PREDICT_BODY = one_of(schema("TFServingRows"), schema("TFServingColumns"))
_PREDICTED = one_of(schema("TFServingPredictions"), schema("TFServingOutputs"))
_EXAMPLES, _RESULTS = schema("TFServingExamples"), schema("TFServingResults")

#: The summary, the body and the answer of what a POST may ask for.
_POSTED = {
    "predict": ("Run a model on tensors or images.", _PREDICT_BODY, _PREDICTED),
    "classify": ("Run a classifier on examples.", _EXAMPLES, _RESULTS),
    "regress": ("Run a regression on examples.", _EXAMPLES, _RESULTS),
}
#: The summary and the answer of what a GET may ask for.
_SHOWN = {
    "status": ("Report the states of the versions of a model.", schema("TFServingStatus")),
    "metadata": ("Report the signatures of a model.", schema("TFServingMetadata")),
}


def predict_operation(
    path: str,
    name: str,
    summary: str,
    *,
    body: Json,
    content: Json,
) -> Operation:
    """Return an operation of inference; *content* is the schema of the answer."""
    return operation(
        path,
        name,
        TF_SERVING,
        summary,
        answers={200: inferred(content)},
        errors=INFERENCE,
        parameters=OPTIONS,
        body={"application/json": body},
    )


def _suffix(path: str) -> str:
    return "Version" if "{version}" in path else "Label" if "{label}" in path else ""


def _described(path: str, action: str) -> Operation:
    name = f"tf{action.title()}{_suffix(path)}"
    if action in _POSTED:
        summary, body, content = _POSTED[action]
        return predict_operation(path, name, summary, body={"schema": body}, content=content)
    summary, content = _SHOWN[action]
    return report(path, name, TF_SERVING, summary, content, errors=(*ANY_REQUEST, 404))


def _with_method(method: str) -> tuple[Operation, ...]:
    return tuple(
        _described(path, action)
        for path, (its_method, action) in described_paths().items()
        if its_method == method
    )


SHOWN = (
    report(
        "/v1/models",
        "tfModels",
        TF_SERVING,
        "List the names of the models.",
        record({"models": array(TEXT)}),
    ),
    *_with_method("GET"),
)
POSTED = _with_method("POST")
