"""
Write a JSON value into an error message, as TensorFlow Serving writes it.

Objects are indented by four spaces, lists stand in one line; after `MAX_SHOWN_CHARACTERS` the rest
is left out.  Pure.
"""

import json
from collections.abc import Iterator

from server.api.json_text import as_list

#: Characters after which no further part of a value is written; one part may exceed them.
MAX_SHOWN_CHARACTERS = 256

_KINDS: dict[type, str] = {
    dict: "Object",
    str: "String",
    int: "Number",
    float: "Number",
    type(None): "Null",
}


def shown(value: object) -> str:
    """Return *value*, parsed JSON, as text, or the beginning of a long one."""
    text = ""
    for part in _parts(value, "\n"):
        if len(text) >= MAX_SHOWN_CHARACTERS:
            break
        text += part
    return text


def kind_of(value: object) -> str:
    """Return the name of the JSON type of *value*."""
    if isinstance(value, bool):
        return str(value)
    return _KINDS.get(type(value), "Array")


def _parts(value: object, line: str) -> Iterator[str]:
    """Yield the text of *value* in parts; *line* is a line end with the present indentation."""
    inner = f"{line}    "
    items = as_list(value)
    if items is not None:
        yield "["
        for at, item in enumerate(items):
            if at:
                yield ", "
            yield from _parts(item, inner)
        yield "]"
    elif isinstance(value, dict):
        yield "{"
        for at, (key, item) in enumerate(value.items()):
            yield f"{',' if at else ''}{inner}{json.dumps(key, ensure_ascii=False)}: "
            yield from _parts(item, inner)
        yield f"{line}}}" if value else "}"
    else:
        yield json.dumps(value, ensure_ascii=False)
