"""
Read the envelope of a request: what TensorFlow Serving checks before it looks for the model.

Pure; large bodies are read on decode threads.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.signature import FeedError
from server.api.json_text import as_list, read_json
from server.api.tfserving.errors import invalid
from server.api.tfserving.examples import Example, example_in, with_context
from server.api.tfserving.shown_json import shown

#: What precedes the reason, and the position of the error, in the message of `read_json`.
_PREFIX = "the body is no JSON: "
_POSITION = re.compile(r":? ?line \d+ column \d+ \(char (\d+)\)$")


@dataclass(frozen=True, slots=True)
class Document:
    """The JSON object of a request."""

    content: Mapping[str, object]
    signature: str  #: empty for the default one
    examples: Sequence[Example] = ()  #: of classify and regress; the context is a part of each


@dataclass(frozen=True, slots=True)
class Body:
    """A body that is not read yet."""

    data: bytes
    max_bytes: int  #: the limit of a body

    def read(self, action: str) -> Document:
        """
        Return what is in the body of a request for *action*.

        Raises a 400 for what is no JSON object, for a wrong ``signature_name``, and for wrong
        examples, if *action* takes some; also the errors of `with_context`.
        """
        content = _object_in(self.data)
        name = content.get("signature_name", "")
        if not isinstance(name, str):
            raise invalid(
                f"JSON Value: {shown(content)} not formatted correctly. "
                "'signature_name' key must be a string value."
            )
        if action == "predict":
            return Document(content, name)
        return Document(content, name, _examples_in(content, self.max_bytes))


def _object_in(body: bytes) -> Mapping[str, object]:
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        content = read_json(body, tokens=True)
    except FeedError as error:
        raise invalid(f"JSON Parse error: {_reason(str(error))}") from None
    if not isinstance(content, dict):
        raise invalid(f"JSON Value: {shown(content)} Is not object")
    return content


def _reason(message: str) -> str:
    """Return *message*, an error of `read_json`, with the position as TensorFlow Serving has it."""
    return _POSITION.sub(r" at offset: \1", message.removeprefix(_PREFIX))


def _examples_in(content: Mapping[str, object], max_bytes: int) -> Sequence[Example]:
    context = example_in(content["context"]) if "context" in content else {}
    if "examples" not in content:
        raise invalid(
            f"JSON Value: {shown(content)} When method is classify, key 'examples' is expected "
            "and was not found"
        )
    items = as_list(content["examples"])
    if items is None:
        raise invalid(
            f"JSON Value: {shown(content)} Expecting 'examples' value to be an list/array"
        )
    if not items:
        raise invalid(f"JSON Value: {shown(content)} 'examples' value is an empty array")
    examples = list(map(example_in, items))
    return with_context(context, examples, max_bytes) if context else examples
