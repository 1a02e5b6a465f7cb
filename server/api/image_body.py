"""
Extract the image file from a body that holds it as base64.

The base64 text is the whole body, or in a data URL, a JSON string or `{"b64": "..."}`.  It has the
standard or the URL-safe alphabet; it may have line ends, and may lack padding.  Pure; work that
grows with the length of a body runs on decode threads.
"""

import re
from base64 import b64decode
from urllib.parse import unquote_to_bytes

import orjson

from model.images.errors import BadImage, NotAnImage
from model.images.first_bytes import describe, image_format

#: The number of first bytes of a body that decide how it is read.
HEAD_BYTES = 512

#: The shortest bare text, in characters, that is read as base64: a shorter one may be a word.
MIN_BARE_CHARACTERS = 24

UTF8_MARK = b"\xef\xbb\xbf"  #: the byte order mark

_IN_JSON = re.compile(rb'\s*(?:"|\{\s*"b64"\s*:)')
_JSON_HEAD = re.compile(rb'^\s*(?:\{\s*"b64"\s*:\s*)?"')
_DATA_URL = re.compile(rb"\s*data:([^,]{0,256}),", re.IGNORECASE)
_BARE = re.compile(rb"[A-Za-z0-9+/_\-]+(?:[\r\n]+[A-Za-z0-9+/_\-]+)*[=\s]*")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n"


def is_image_in_json(body: bytes) -> bool:
    """Whether *body* begins as a JSON string, or as a JSON object whose first key is "b64"."""
    return _IN_JSON.match(body[:HEAD_BYTES].removeprefix(UTF8_MARK)) is not None


def begins_image(data: bytes) -> bool:
    """
    Whether *data* begins as an image file does, or as the base64 of one.

    The base64 may be in a data URL or in JSON.
    """
    if image_format(data) is not None:
        return True
    head = _JSON_HEAD.sub(b"", data[:HEAD_BYTES].removeprefix(UTF8_MARK), count=1)
    head = _DATA_URL.sub(b"", head, count=1)
    text = head.translate(_STANDARD, _SPACE)[:64]
    try:
        start = b64decode(text[: len(text) // 4 * 4], validate=True)
    except ValueError:
        return False
    return image_format(start) is not None


def image_file(data: bytes) -> bytes:
    """
    Return *data* if it is an image file, else the image file that it holds as base64.

    *data* that is neither is returned unchanged.  Raises `BadImage` for broken base64, and for
    base64 of several images; `NotAnImage` for base64 of something else.  Called on a decode thread.
    """
    if image_format(data) is not None:
        return data
    text = data.removeprefix(UTF8_MARK)
    if is_image_in_json(text):
        return from_text(_string_in(text))
    if _DATA_URL.match(text):
        return from_text(text)
    bare = text.lstrip(_SPACE)
    if len(bare) >= MIN_BARE_CHARACTERS and _BARE.fullmatch(bare[:HEAD_BYTES]):
        if any(begins_image(line) for line in bare.split()[1:]):
            raise BadImage("the body is base64 of several images; send one image per request")
        return from_text(bare)
    return data


def from_text(text: bytes) -> bytes:
    """
    Return the image file in *text*, which is base64 or a data URL with base64.

    Raises `BadImage` for broken base64 and for a data URL without base64, and `NotAnImage` for
    base64 of something else.
    """
    url = _DATA_URL.match(text)
    if url is not None:
        if not url[1].lower().rstrip().endswith(b";base64"):
            raise BadImage("the data URL is not base64; expected data:image/jpeg;base64,...")
        text = text[url.end() :]
        text = unquote_to_bytes(text) if b"%" in text else text
    digits = text.translate(_STANDARD, _SPACE).rstrip(b"=")
    try:
        content = b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except ValueError:
        raise BadImage(
            f"the base64 of the image is broken or cut short ({len(digits)} characters)"
        ) from None
    if image_format(content) is None:
        raise NotAnImage(f"base64 of {describe(content)}", len(content))
    return content


def texts_in(inputs: object, name: str) -> list[bytes]:
    """
    Return the base64 text of each image in *inputs*; an empty list if any value is no image.

    *inputs* is the value of "inputs" in a request.  It holds images if it is one image, a list of
    images, or an object whose only key is *name*, the name of the input, and whose value is one
    image or a list of images.  An image is `{"b64": "..."}`, or a string that
    begins as the base64 of an image file.
    """
    if isinstance(inputs, dict) and inputs.keys() == {name}:
        inputs = inputs[name]
    values = inputs if isinstance(inputs, list) else [inputs]
    texts = []
    for value in values:  # ends at the first value that is no image: there may be millions
        text = _text_of(value)
        if text is None or (
            isinstance(value, str) and not begins_image(text[:HEAD_BYTES].encode())
        ):
            return []
        texts.append(text.encode())
    return texts


def _text_of(value: object) -> str | None:
    match value:
        case str():
            return value
        case {"b64": str(text), **others} if not others:
            return text
        case _:
            return None


def _string_in(body: bytes) -> bytes:
    """
    Return the base64 text in *body*, a JSON string or `{"b64": "..."}`.

    Raises `BadImage` for any other JSON, and for invalid JSON.
    """
    try:
        text = _text_of(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise BadImage(f"the body is no JSON: {error}") from None
    if text is None:
        raise BadImage('the body: expected {"b64": "..."} and no other key, or a string')
    return text.encode()
