"""
The operations of the v2 protocol of KServe.

Pure.
"""

from server.api.kserve.answers import JSON_LENGTH
from server.api.kserve.datatypes import DATATYPES, MAX_AXES
from server.api.kserve.paths import PATHS, Action, method_of
from server.api.openapi.parts import (
    ANY_REQUEST,
    BINARY,
    CHANGE,
    COUNT,
    FLAG,
    INFERENCE,
    KSERVE_V2,
    LIST,
    OBJECT,
    OPTIONS,
    TEXT,
    Json,
    answer,
    array,
    header,
    inferred,
    one_of,
    operation,
    parameter,
    record,
    report,
    schema,
)
from server.http.messages import Operation

_PARAMETERS: Json = {
    "parameters": {
        **OBJECT,
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }
}
_DATATYPE: Json = {**TEXT, "enum": sorted(DATATYPES)}
_SHAPE: Json = {**array(COUNT), "maxItems": MAX_AXES}

#: The schemas that these operations refer to.
SCHEMAS: Json = {
    "V2Input": record(
        {
            "name": TEXT,
            "shape": _SHAPE,
            "datatype": _DATATYPE,
            "data": {"description": "The values, flat or nested; absent for a binary tensor."},
            **_PARAMETERS,
        },
        optional=("data", "parameters"),
    ),
    "V2Request": record(
        {
            "id": TEXT,
            "inputs": array(schema("V2Input")),
            "outputs": array(record({"name": TEXT, **_PARAMETERS}, optional=_PARAMETERS)),
            **_PARAMETERS,
        },
        optional=("id", "outputs", "parameters"),
    ),
    "V2Output": record(
        {
            "name": TEXT,
            "shape": _SHAPE,
            "datatype": TEXT,
            "data": {**LIST, "description": "Flat; absent for a binary tensor."},
            **_PARAMETERS,
        },
        optional=("data", "parameters"),
    ),
    "V2Answer": record(
        {
            "model_name": TEXT,
            "model_version": TEXT,
            "id": TEXT,
            "outputs": array(schema("V2Output")),
        },
        optional=("id",),
    ),
    "V2Tensor": record(
        {
            "name": TEXT,
            "datatype": TEXT,
            "shape": array({"type": "integer", "minimum": -1}),
            **_PARAMETERS,
        },
        optional=_PARAMETERS,
    ),
    "V2Metadata": record(
        {
            "name": TEXT,
            "versions": array(TEXT),
            "platform": TEXT,
            "inputs": array(schema("V2Tensor")),
            "outputs": array(schema("V2Tensor")),
            "parameters": OBJECT,
        },
        optional=("parameters",),
    ),
    "V2Statistics": record({"model_stats": array(OBJECT)}),
    "V2Index": array(
        record(
            {
                "name": TEXT,
                "version": TEXT,
                "state": {**TEXT, "enum": ["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]},
                "reason": TEXT,
            },
            optional=("version",),
        )
    ),
}

#: The errors of a request of this protocol: 503 in the place of 429.
_ANY = tuple(status for status in ANY_REQUEST if status != 429)
_INFERENCE = tuple(status for status in INFERENCE if status != 429)
_CHANGE = tuple(status for status in CHANGE if status != 429)


def infer_operation(path: str, name: str, summary: str, *, body: Json, content: Json) -> Operation:
    """Return an operation of inference; *body* and *content* are those of JSON."""
    answered = inferred(content)
    binary = {"schema": BINARY}
    answered = {
        **answered,
        "headers": {**answered["headers"], JSON_LENGTH: header(JSON_LENGTH)},
        "content": {**answered["content"], "application/octet-stream": binary},
    }
    return operation(
        path,
        name,
        KSERVE_V2,
        summary,
        answers={200: answered},
        errors=_INFERENCE,
        parameters=[parameter("json_length"), *OPTIONS],
        body={"application/json": body, "application/octet-stream": binary},
    )


def _state(path: str, name: str, summary: str, content: Json) -> Operation:
    """Return the operation of a GET that is answered with *content*, 200 or 503."""
    answers = {
        200: answer("The state is true.", content),
        503: answer("The state is false.", one_of(content, schema("V2Error"))),
    }
    return operation(path, name, KSERVE_V2, summary, answers=answers, errors=(*_ANY, 404))


#: What is reported for each action: the name of the operation, its summary and its answer.
_REPORTS: dict[Action, tuple[str, str, Json]] = {
    "metadata": ("v2Model", "Report the inputs and outputs of a model.", schema("V2Metadata")),
    "config": ("v2Config", "Report the configuration of a model, as Triton does.", OBJECT),
    "stats": ("v2Statistics", "Report the statistics of a model.", schema("V2Statistics")),
    "statistics of all": (
        "v2AllStatistics",
        "Report the statistics of all models.",
        schema("V2Statistics"),
    ),
}
#: The same for the answers 200 and 503 that state whether something holds.
_STATES: dict[Action, tuple[str, str, Json]] = {
    "live": ("v2Live", "Answer 200 while the server is alive.", record({"live": FLAG})),
    "ready server": (
        "v2Ready",
        "Answer 200 while the server accepts requests.",
        record({"ready": FLAG}),
    ),
    "ready": (
        "v2ModelReady",
        "Answer 200 while a model is ready.",
        record({"name": TEXT, "ready": FLAG, "error": TEXT}, optional=("error",)),
    ),
}


def _change(path: str, action: str) -> Operation:
    shape = record(_PARAMETERS, optional=_PARAMETERS)
    body: Json = {"application/json": {"schema": shape}}
    return operation(
        path,
        f"v2{action.title()}",
        KSERVE_V2,
        f"{action.title()} a model; the answer has no body.",
        answers={200: answer("It is done.", None)},
        errors=_CHANGE,
        body=body,
        needs_body=False,
        is_change=True,
    )


def _index(path: str) -> Operation:
    shape = record({"ready": {**FLAG, "description": "Only those."}}, optional=("ready",))
    return operation(
        path,
        "v2Index",
        KSERVE_V2,
        "List all versions of all models with their states.",
        answers={200: answer("The versions.", schema("V2Index"))},
        errors=_ANY,
        body={"application/json": {"schema": shape}},
        needs_body=False,
    )


def _described(path: str, action: Action) -> Operation:
    end = "Version" if "{version}" in path else ""
    if action in _STATES:
        name, summary, content = _STATES[action]
        return _state(path, f"{name}{end}", summary, content)
    if action in _REPORTS:
        name, summary, content = _REPORTS[action]
        return report(path, f"{name}{end}", KSERVE_V2, summary, content, errors=(*_ANY, 404))
    if action == "index":
        return _index(path)
    if action != "infer":
        return _change(path, action)
    return infer_operation(
        path,
        f"v2Infer{end}",
        "Run a model on tensors or images.",
        body={"schema": schema("V2Request")},
        content=schema("V2Answer"),
    )


_OPERATIONS = {
    ("GET", "/v2"): (
        report(
            "/v2",
            "v2Server",
            KSERVE_V2,
            "Report the extensions of the protocol that the server has.",
            record({"name": TEXT, "version": TEXT, "extensions": array(TEXT)}),
            errors=_ANY,
        ),
    ),
    **{
        (method, "/v2/*"): tuple(
            _described(f"/v2/{path}", action)
            for path, action in PATHS.rows.items()
            if method_of(action) == method
        )
        for method in ("GET", "POST")
    },
}


def operations_of(method: str, path: str) -> tuple[Operation, ...]:
    """Return the operations of the route with *method* and *path*, ``/v2`` or ``/v2/*``."""
    return _OPERATIONS.get((method, path), ())
