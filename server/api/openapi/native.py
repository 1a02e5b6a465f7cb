"""
The operations of the native dialect, of the changes of models, and of the server itself.

Pure.
"""

from server.api.models_paths import PATHS, Change
from server.api.openapi.parts import (
    ANY_REQUEST,
    BINARY,
    CHANGE,
    COUNT,
    FLAG,
    INFERENCE,
    MODELS,
    NATIVE,
    NUMBER,
    OBJECT,
    OPTIONS,
    SERVER,
    TEXT,
    Json,
    answer,
    array,
    inferred,
    nullable,
    one_of,
    operation,
    parameter,
    record,
    report,
    schema,
)
from server.http.messages import Operation

#: The schemas that these operations refer to.
SCHEMAS: Json = {
    "Tensors": {
        **record(
            {
                "inputs": {
                    "description": "A value for each input by its name, or that of the only input."
                },
                "signature_name": {**TEXT, "description": "The default signature without it."},
            },
            optional=("signature_name",),
        ),
        "additionalProperties": False,
    },
    "Outputs": record({"outputs": {**OBJECT, "description": "A value for each output."}}),
    "Labels": {
        "type": "array",
        "description": "Labels with scores, the best first.",
        "items": {
            "type": "array",
            "prefixItems": [TEXT, nullable(NUMBER)],
            "minItems": 2,
            "maxItems": 2,
        },
    },
    "ModelVersion": record(
        {
            "version": TEXT,
            "state": {
                **TEXT,
                "enum": [
                    "serving",
                    "loading",
                    "loaded",
                    "draining",
                    "failed",
                    "waiting",
                    "incomplete",
                    "not served",
                ],
            },
            "reason": TEXT,
            "labels": array(TEXT),
        }
    ),
    "Model": record(
        {
            "name": TEXT,
            "versions": array(schema("ModelVersion")),
            "default_version": nullable(TEXT),
            "labels": {**OBJECT, "additionalProperties": TEXT},
            "weight": NUMBER,
            "problem": TEXT,
            "notes": array(TEXT),
        }
    ),
}

#: The answers to a request for inference.
ONE_ANSWER = one_of(schema("Labels"), schema("Outputs"))
_ANSWER = one_of(ONE_ANSWER, array(one_of(ONE_ANSWER, schema("ImageError"))))

#: What a body may be beside JSON: an image.
IMAGE_BODIES: Json = {
    "image/*": {"schema": BINARY},
    "application/octet-stream": {"schema": BINARY},
    "multipart/form-data": {
        "schema": {
            **record({"data": one_of(BINARY, array(BINARY))}),
            "description": "One image or several; the name of the field may be any.",
        }
    },
}
_BODY: Json = {
    "application/json": {
        "schema": one_of(schema("Tensors"), schema("EncodedBytes"), TEXT),
    },
    **IMAGE_BODIES,
}


def inference_operation(
    path: str,
    name: str,
    summary: str,
    *,
    body: Json = _BODY,
    content: Json = _ANSWER,
    has_labels: bool = True,
) -> Operation:
    """Return the operation of inference; *content* is the schema of the answer."""
    return operation(
        path,
        name,
        NATIVE,
        summary,
        answers={200: inferred(content)},
        errors=INFERENCE,
        parameters=[*([parameter("top")] if has_labels else []), *OPTIONS],
        body=body,
    )


PREDICT = (
    inference_operation("/", "predict", "Run the only model on an image, several, or tensors."),
)

_ADDRESSED = {"label": "Label", "version": "Version"}


def _suffix(path: str) -> str:
    """Return the end of the name of an operation with *path*: what the path names of the model."""
    return next((end for word, end in _ADDRESSED.items() if f"{{{word}}}" in path), "Model")


def _change(path: str, change: Change) -> Operation:
    suffix = _suffix(path)
    what = "a version" if suffix == "Version" else "the versions of a model that are to be served"
    texts: dict[Change, str] = {
        "load": f"Serve {what}.",
        "unload": f"Serve {what if suffix == 'Version' else 'no version of a model'} no longer.",
    }
    return operation(
        path,
        f"{change}{suffix}",
        MODELS,
        texts[change],
        answers={200: answer("The model after the change.", schema("Model"))},
        errors=CHANGE,
        is_change=True,
    )


def _posted() -> tuple[Operation, ...]:
    found = []
    for end, change in PATHS.rows.items():
        path = f"/models/{end}"
        if change is not None:
            found.append(_change(path, change))
            continue
        which = {"Model": "a model", "Version": "a version", "Label": "the version with a label"}
        suffix = _suffix(path)
        summary = f"Run {which[suffix]} on an image, several, or tensors."
        found.append(inference_operation(path, f"predict{suffix}", summary))
    return tuple(found)


LIST_MODELS = (
    report(
        "/models",
        "listModels",
        MODELS,
        "List the models with the states of their versions.",
        record({"models": array(schema("Model"))}),
    ),
)


def show_operation(path: str, name: str, summary: str) -> Operation:
    """Return the operation of a report of a model."""
    errors = (*ANY_REQUEST, 404)
    return report(path, name, MODELS, summary, schema("Model"), errors=errors)


SHOW_MODEL = (
    show_operation("/models/{model}", "showModel", "Report the states of the versions of a model."),
)
POST_MODEL = _posted()
PUT_LABEL = tuple(
    operation(
        f"/models/{path}",
        "setLabel",
        MODELS,
        "Give a label to a version, or remove it.",
        answers={200: answer("The model after the change.", schema("Model"))},
        errors=CHANGE,
        body={
            "application/json": {
                "schema": record(
                    {
                        "version": {
                            **nullable(COUNT),
                            "maximum": 10**18 - 1,
                            "description": "null removes the label.",
                        }
                    }
                )
            }
        },
        is_change=True,
    )
    for path in PATHS.rows
    if path.endswith("{label}")
)
ALIVE = (
    report(
        "/",
        "alive",
        SERVER,
        "Answer while the server runs, as KServe v1 asks for.",
        record({"status": {"const": "alive"}}),
    ),
)


def _state(path: str, name: str, summary: str, content: Json) -> tuple[Operation, ...]:
    """Return the operation of a GET that is answered with 200 if a state holds, else with 503."""
    answers = {
        200: answer("The state is true.", content),
        503: answer("The state is false.", content),
    }
    return (operation(path, name, SERVER, summary, answers=answers),)


HEALTHZ = _state(
    "/healthz",
    "healthz",
    "Answer 200 while the server is alive, else 503.",
    record(
        {
            "alive": FLAG,
            "reactor_lag_s": NUMBER,
            "model_threads": array(OBJECT),
            "trouble": TEXT,
        },
        optional=("trouble",),
    ),
)
READYZ = _state(
    "/readyz",
    "readyz",
    "Answer 200 while the server accepts requests, else 503.",
    record(
        {"ready": FLAG, "state": TEXT, "progress": TEXT, "trouble": TEXT},
        optional=("progress", "trouble"),
    ),
)
#: The errors of a report of the first model.
_OF_A_MODEL = (*ANY_REQUEST, 404)
STATUS = (
    report(
        "/status",
        "status",
        SERVER,
        "Report the first model by name, its signatures and its options.",
        record(
            {
                "model": TEXT,
                "device": TEXT,
                "lanes": COUNT,
                "default_timeout_s": nullable(NUMBER),
                "labels": COUNT,
                "images": nullable(OBJECT),
                "default_signature": TEXT,
                "signatures": {**OBJECT, "additionalProperties": OBJECT},
                "workers": array(OBJECT),
            },
            optional=("workers",),
        ),
        errors=_OF_A_MODEL,
    ),
)
BATCHER = (
    report(
        "/debug/batcher",
        "debugBatcher",
        SERVER,
        "Report the queues of the batcher and its last runs.",
        record(
            {
                "policy": TEXT,
                "state": TEXT,
                "totals": OBJECT,
                "queues": array(OBJECT),
                "runs": array(OBJECT),
                "worker": COUNT,
            },
            optional=("worker",),
        ),
        errors=_OF_A_MODEL,
    ),
)
METRICS = (
    operation(
        "/metrics",
        "metrics",
        SERVER,
        "Report the metrics of the server, for Prometheus.",
        answers={
            200: {
                **answer("The metrics.", None),
                "content": {
                    kind: {"schema": TEXT}
                    for kind in ("text/plain", "application/openmetrics-text")
                },
            }
        },
    ),
)
OPENAPI = (
    report(
        "/openapi.json",
        "openapi",
        SERVER,
        "Describe this API as OpenAPI 3.1, with the models that are served now.",
        record({"openapi": TEXT, "info": OBJECT, "paths": OBJECT, "components": OBJECT}),
    ),
)
