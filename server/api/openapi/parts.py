"""
The parts of which operations are made: parameters, answers, errors, and the schemas of values.

Pure.  A part is JSON of OpenAPI 3.1.  What several operations share is in `COMPONENTS`, and an
operation refers to it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from server.api.request_options import MAX_TIMEOUT_MS
from server.http.messages import Operation

#: A part of the document.
Json = Mapping[str, Any]  # Any: JSON

#: The tags: one for each dialect, and one for the server itself.
NATIVE, MODELS, SERVER = "native", "models", "server"
TF_SERVING, KSERVE_V2 = "TensorFlow Serving and KServe v1", "KServe v2"
TAGS = {
    NATIVE: "Images and tensors in this server's own form.",
    MODELS: "Which models and versions are served. Changes are taken with the token of "
    "--admin-token-file, or on --admin-listen; else they get a 404.",
    TF_SERVING: "The REST API of TensorFlow Serving, and version 1 of KServe's protocol.",
    KSERVE_V2: "The Open Inference Protocol, with Triton's extensions.",
    SERVER: "The state of the server.",
}

#: The form of the errors of each tag, by its name in the schemas.
ERROR_FORMS = {
    NATIVE: "InferenceError",
    MODELS: "Error",
    SERVER: "Error",
    TF_SERVING: "TFServingError",
    KSERVE_V2: "V2Error",
}

#: What each status of an error means.
ERRORS = {
    400: "The request is wrong; the message states what was expected.",
    401: "The token is missing or wrong.",
    403: "The request comes from the page of a browser.",
    404: "There is no such model, version or label, or no such path.",
    408: "The request did not arrive in time.",
    409: "The change is not possible now; the message has the reason.",
    413: "The body or the image is too large.",
    414: "The first line of the request is too long.",
    415: "The Content-Type or the Content-Encoding is not supported.",
    429: "The answer would be too late, or too many requests wait.",
    431: "The header fields of the request are too large or too many.",
    500: "The model or the server failed on this request.",
    503: "The server starts, stops, hangs or is full; in KServe v2 also what is 429 elsewhere.",
    504: "The request was accepted, and its deadline has passed.",
}

#: The statuses with the header Retry-After; of 503 not all answers have it.
_RETRIED = (429, 503)

#: The errors that every request may get.
ANY_REQUEST = (400, 408, 413, 414, 429, 431, 500, 503)
#: The errors of requests for inference.
INFERENCE = (*ANY_REQUEST, 404, 415, 504)
#: The errors of changes.
CHANGE = (*ANY_REQUEST, 401, 403, 404, 409)

NUMBER: Json = {"type": "number"}
COUNT: Json = {"type": "integer", "minimum": 0}
TEXT: Json = {"type": "string"}
FLAG: Json = {"type": "boolean"}
OBJECT: Json = {"type": "object"}
#: A list of anything; generators of clients need "items".
LIST: Json = {"type": "array", "items": {}}
#: The bytes of a file or of a tensor.
BINARY: Json = {"type": "string", "format": "binary"}


def array(items: Json) -> Json:
    """Return the schema of a list of *items*."""
    return {"type": "array", "items": items}


def record(properties: Json, *, optional: Iterable[str] = ()) -> Json:
    """Return the schema of an object that has *properties*, of which some are *optional*."""
    required = [name for name in properties if name not in set(optional)]
    return {"type": "object", "properties": properties, "required": required}


def nullable(schema: Json) -> Json:
    """Return the schema of null, or a value of *schema*, which has one type."""
    return {**schema, "type": [schema["type"], "null"]}


def one_of(*schemas: Json) -> Json:
    """Return the schema of the values of any of *schemas*."""
    return {"anyOf": list(schemas)}


def schema(name: str) -> Json:
    """Return a reference to the shared schema *name*."""
    return {"$ref": f"#/components/schemas/{name}"}


def parameter(name: str) -> Json:
    """Return a reference to the shared parameter *name*."""
    return {"$ref": f"#/components/parameters/{name}"}


def header(name: str) -> Json:
    """Return a reference to the shared header *name*."""
    return {"$ref": f"#/components/headers/{name}"}


#: The parameters of requests for inference.
OPTIONS = (parameter("timeout"), parameter("priority"))


def answer(
    description: str, content: Json | None, *, headers: Iterable[str] = (), kind: str = ""
) -> Json:
    """
    Return an answer with *content*, a schema; None: it has no body.

    *headers* are names of shared headers, besides X-Request-Id.  *kind* is the media type, JSON
    without one.
    """
    names = ("X-Request-Id", *headers)
    found: dict[str, Any] = {
        "description": description,
        "headers": {name: header(name) for name in names},
    }
    if content is not None:
        found["content"] = {kind or "application/json": {"schema": content}}
    return found


def inferred(content: Json) -> Json:
    """Return the answer of a run, with *content*, a schema, as JSON."""
    return answer("The outputs.", content, headers=("X-Model-Version", "Server-Timing"))


def path_parameters(path: str) -> list[Json]:
    """Return the parameters that *path* has in braces."""
    return [parameter(part.partition("}")[0]) for part in path.split("{")[1:]]


def operation(
    path: str,
    name: str,
    tag: str,
    summary: str,
    *,
    answers: Mapping[int, Json],
    errors: Iterable[int] = ANY_REQUEST,
    parameters: Iterable[Json] = (),
    body: Json | None = None,
    needs_body: bool = True,
    is_change: bool = False,
) -> Operation:
    """
    Return the operation *name*, whose errors have the form of *tag*.

    *errors* are the statuses of errors that are not among *answers*.  *body* maps media types to
    objects with a schema and examples; without *needs_body*, a request may have none.
    """
    form = ERROR_FORMS[tag]
    responses = {str(status): content for status, content in answers.items()} | {
        str(status): {"$ref": f"#/components/responses/{form}{status}"}
        for status in sorted(errors)
        if status not in answers
    }
    content: dict[str, Any] = {
        "tags": [tag],
        "summary": summary,
        "parameters": [*path_parameters(path), parameter("request_id"), *parameters],
        "responses": responses,
    }
    if body is not None:
        content["requestBody"] = {"required": needs_body, "content": body}
    return Operation(path, name, content, is_change=is_change)


def report(path: str, name: str, tag: str, summary: str, content: Json, **more: Any) -> Operation:
    """Return the operation of a GET that is answered with *content*; *more* as `operation`."""
    answers = {200: answer("The report.", content)}
    return operation(path, name, tag, summary, answers=answers, **more)


_ERROR = {"error": {"type": "string", "description": "What is wrong, in words."}}
_ERROR_SCHEMAS: Json = {
    "Error": record(
        {
            **_ERROR,
            "status": {"type": "integer", "description": "The status of the answer."},
            "request_id": {"type": "string", "description": "The same as X-Request-Id."},
        }
    ),
    "InferenceError": one_of(schema("Error"), array(schema("ImageError"))),
    "TFServingError": record(_ERROR),
    "V2Error": record(_ERROR),
}


def _error_answers() -> dict[str, Json]:
    found = {}
    for form in set(ERROR_FORMS.values()):
        for status, meaning in ERRORS.items():
            headers = ["Retry-After"] if status in _RETRIED else []
            headers += ["WWW-Authenticate"] if status == 401 else []
            found[f"{form}{status}"] = answer(meaning, schema(form), headers=headers)
    return found


def _header(text: str, *, required: bool = False, kind: Json = TEXT) -> Json:
    return {"description": text, "required": required, "schema": kind}


def _in_path(name: str, text: str) -> Json:
    shape = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": text, "schema": shape}


def _in_header(name: str, text: str, shape: Json) -> Json:
    return {"name": name, "in": "header", "description": text, "schema": shape}


#: What operations refer to.
COMPONENTS: Mapping[str, Json] = {
    "schemas": {
        **_ERROR_SCHEMAS,
        "ImageError": {
            **record({**_ERROR, "status": {"type": "integer"}}),
            "description": "What is wrong with one of several images.",
        },
        "EncodedBytes": {
            **record({"b64": {"type": "string", "contentEncoding": "base64"}}),
            "additionalProperties": False,
            "description": "Bytes, such as an image file, in base64.",
        },
    },
    "responses": _error_answers(),
    "headers": {
        "X-Request-Id": _header(
            "The id of the request in the server's log: that of the client, or a new one.",
            required=True,
        ),
        "X-Model-Version": _header("The model that answers: NAME/VERSION.", required=True),
        "Server-Timing": _header(
            "The milliseconds of decode, queue, run and encode, and the batches.", required=True
        ),
        "Retry-After": _header("Seconds after which to try again.", kind=COUNT),
        "WWW-Authenticate": _header("The scheme of the token: Bearer.", required=True),
        "Inference-Header-Content-Length": _header(
            "The bytes of the JSON before the bytes of the tensors; only with those."
        ),
    },
    "parameters": {
        "model": _in_path("model", "The name of the model."),
        "version": _in_path("version", "The version, a whole number; in KServe v2 also a label."),
        "label": _in_path("label", "A label of a version, such as live."),
        "request_id": _in_header(
            "X-Request-Id",
            "An id for the server's log: up to 128 printable characters; the server makes a new "
            "one for any other text.",
            TEXT,
        ),
        "timeout": _in_header(
            "X-Request-Timeout-Ms",
            "Milliseconds from the head of the request until its answer is useless.",
            {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_MS},
        ),
        "priority": _in_header(
            "X-Request-Priority",
            "Which requests run first.",
            {"type": "string", "enum": ["high", "normal", "low"], "default": "normal"},
        ),
        "top": {
            "name": "k",
            "in": "query",
            "description": "The number of labels in the answer to an image.",
            "schema": {"type": "integer", "minimum": 1},
        },
        "json_length": _in_header(
            "Inference-Header-Content-Length",
            "The bytes of the JSON before the bytes of the tensors; 0: there is no JSON.",
            COUNT,
        ),
    },
    "securitySchemes": {
        "adminToken": {
            "type": "http",
            "scheme": "bearer",
            "description": "The token in the file of --admin-token-file.",
        }
    },
}
