"""
Decode `{"b64": "..."}` as TensorFlow Serving does: without spaces and line ends, padded or not.

Pure.
"""

from base64 import b64decode, b64encode
from binascii import Error

from server.api.json_text import as_list
from server.api.tfserving.tensor_types import MAX_RANK

_SPACE = {ord(each): None for each in " \t\r\n\v\f"}


def is_base64(value: object) -> bool:
    """Whether *value*, parsed JSON, is an object whose only key is "b64", with a string."""
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def base64_bytes(text: str) -> bytes | None:
    """Return the bytes that *text* holds; None if it is no base64."""
    digits = text.translate(_SPACE).rstrip("=")
    try:
        return b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (Error, ValueError):
        return None


def with_plain_base64(value: object, depth: int = MAX_RANK) -> object:
    """
    Return *value*, parsed JSON, with all base64 in its lists written without spaces, and padded.

    What is no base64 stays as it is, and what is nested deeper than *depth* lists.
    """
    items = as_list(value) if depth > 0 else None
    if items is not None:
        return [with_plain_base64(item, depth - 1) for item in items]
    if isinstance(value, dict) and is_base64(value):
        content = base64_bytes(value["b64"])
        return value if content is None else {"b64": b64encode(content).decode()}
    return value
