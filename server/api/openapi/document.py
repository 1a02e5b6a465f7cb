"""
Write the document: all operations of the table of routes, and those of the models that serve.

A served model has paths of its own beside the paths with ``{model}``, which describe all others: a
document is as long as the models in memory require, however many a repository has.  Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from server.api.openapi import kserve, native, tfserving
from server.api.openapi.parts import COMPONENTS, TAGS, Json
from server.http.messages import Operation, Route
from tensorferry import __version__

_DESCRIPTION = (
    "Beside the paths with {model}, each model that serves has one path in each dialect, with its "
    "tensors and examples. Every GET may be a HEAD, and every "
    "path answers OPTIONS with its methods. Every answer has X-Request-Id."
)


def path_items(operations: Iterable[tuple[str, Operation]], security: Json) -> dict[str, Any]:
    """
    Return the Path Items of *operations*, each with its method, by their paths.

    *security* is added to those that change what is served.
    """
    items: dict[str, Any] = {}
    for method, each in operations:
        content = {"operationId": each.id, **each.content}
        if each.is_change:
            content |= security
        items.setdefault(each.path, {})[method.lower()] = content
    return items


def described_routes(routes: Iterable[Route], *, token: bool) -> dict[str, Any]:
    """Return the Path Items of *routes*; with *token*, changes need the token."""
    security: Json = {"security": [{"adminToken": []}]} if token else {}
    operations = [(route.method, each) for route in routes for each in route.operations]
    return path_items(operations, security)


def written(paths: Mapping[str, Any]) -> bytes:
    """Return the document with *paths* as JSON; a value of *paths* may be a fragment of JSON."""
    schemas = {
        **COMPONENTS["schemas"],
        **native.SCHEMAS,
        **tfserving.SCHEMAS,
        **kserve.SCHEMAS,
    }
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "TensorFerry",
                "version": __version__,
                "description": _DESCRIPTION,
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
            "paths": paths,
            "components": {**COMPONENTS, "schemas": schemas},
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
