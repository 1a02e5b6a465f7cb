"""
Bodies that no client should send, for every dialect, and the dialects that must answer them.

A dialect is added as a row of `TARGETS`.  The documents use the keys of all dialects, so that each
of them reads a part of every document.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson
from hypothesis import strategies as st

from tests.fakes.tables import JSON_LENGTH
from tests.images import claims, coloured, encoded

IMAGE = encoded(coloured(16, 16), "PNG")
TEXT = b64encode(IMAGE).decode()
JSON = "application/json"
OCTETS = "application/octet-stream"
FORM = "multipart/form-data; boundary=edge"


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that takes images, and a body that it answers with 200."""

    path: str
    good: bytes
    kind: str  #: the Content-Type of *good*
    #: Of *good* and of the hostile bodies.
    headers: Mapping[str, str] = field(default_factory=dict)


#: An input of the v2 protocol with a row.
_ROW: dict[str, object] = {"name": "image", "shape": [1], "datatype": "BYTES"}
_BINARY = orjson.dumps({"inputs": [_ROW | {"parameters": {"binary_data_size": 4 + len(IMAGE)}}]})

TARGETS = {
    "native, an image": Target("/", IMAGE, "image/png"),
    "native, JSON": Target("/", orjson.dumps({"inputs": [{"b64": TEXT}]}), JSON),
    "TensorFlow Serving": Target(
        "/v1/models/pets:predict", orjson.dumps({"instances": [{"b64": TEXT}]}), JSON
    ),
    "v2, JSON": Target(
        "/v2/models/pets/infer", orjson.dumps({"inputs": [_ROW | {"data": [TEXT]}]}), JSON
    ),
    # The header of other bodies states a wrong length.
    "v2, binary": Target(
        "/v2/models/pets/infer",
        _BINARY + len(IMAGE).to_bytes(4, "little") + IMAGE,
        OCTETS,
        {JSON_LENGTH: str(len(_BINARY))},
    ),
    "v2, raw": Target("/v2/models/pets/infer", IMAGE, OCTETS, {JSON_LENGTH: "0"}),
}

#: A body and its Content-Type.
Body = tuple[bytes, str]


def form(*parts: tuple[str, bytes]) -> bytes:
    """Return a form; each part is its headers, with CRLF between them, and its content."""
    return (
        b"".join(
            b"--edge\r\n" + head.encode("utf-8", "replace") + b"\r\n\r\n" + content + b"\r\n"
            for head, content in parts
        )
        + b"--edge--\r\n"
    )


def _nested(opening: bytes, closing: bytes, depth: int = 50_000, inner: bytes = b"1") -> bytes:
    return opening * depth + inner + closing * depth


def _in_inputs(value: bytes) -> bytes:
    """Return a document with *value* under the key of the values in each dialect."""
    return b'{"inputs": %s}' % value


def _v2(*sizes: int, name: str = "image", datatype: str = "UINT8", **rest: object) -> bytes:
    """Return a document of the v2 protocol with a tensor whose shape is *sizes*."""
    tensor = {"name": name, "shape": sizes, "datatype": datatype, **rest}
    return json.dumps({"inputs": [tensor]}).encode()


#: Bodies that are read quickly.
EXTREME: dict[str, Callable[[], Body]] = {
    "50,000 opening brackets": lambda: (b"[" * 50_000, JSON),
    "50,000 brackets": lambda: (_nested(b"[", b"]"), JSON),
    "50,000 brackets in inputs": lambda: (_in_inputs(_nested(b"[", b"]")), JSON),
    "50,000 opening brackets in inputs": lambda: (b'{"inputs": ' + b"[" * 50_000, JSON),
    "1,000 brackets in inputs": lambda: (_in_inputs(_nested(b"[", b"]", 1000)), JSON),
    "50,000 objects": lambda: (_nested(b'{"inputs":', b"}"), JSON),
    "50,000 objects of base64": lambda: (_in_inputs(_nested(b'{"b64":', b"}")), JSON),
    "50,000 objects in a list": lambda: (_in_inputs(_nested(b'[{"b64":', b"}]", 25_000)), JSON),
    "50,000 instances": lambda: (b'{"instances": %s}' % _nested(b"[", b"]"), JSON),
    "a shape of many rows": lambda: (
        b'{"inputs": [{"name": "image", "shape": [%d, 4, 4, 3], "datatype": "UINT8", "data": [1]}]}'
        % 10**12,
        JSON,
    ),
    "a shape of many axes": lambda: (
        b'{"inputs": [{"name": "image", "shape": %s, "datatype": "UINT8", "data": [1]}]}'
        % orjson.dumps([1] * 5000),
        JSON,
    ),
    "a negative shape": lambda: (_v2(-1, 0, data=[]), JSON),
    "a shape beyond 64 bits": lambda: (_v2(2**40, 2**40, 4, 3, data=[1]), JSON),
    "a shape of nothing": lambda: (_v2(0, 2**40, 2**40, 3, data=[]), JSON),
    "50,000 brackets in data": lambda: (
        _v2(1, 4, 4, 3, data="@").replace(b'"@"', _nested(b"[", b"]")),
        JSON,
    ),
    "more bytes than there are": lambda: (
        _v2(2**40, 4, 4, 3, parameters={"binary_data_size": 2**40 * 48}),
        JSON,
    ),
    "bytes beyond 64 bits": lambda: (
        _v2(1, 4, 4, 3, parameters={"binary_data_size": 10**30}),
        JSON,
    ),
    "a negative number of bytes": lambda: (
        _v2(1, 4, 4, 3, parameters={"binary_data_size": -48}),
        JSON,
    ),
    "strings that are longer than the body": lambda: (
        _v2(2, datatype="BYTES", parameters={"binary_data_size": 8}) + b"\xff" * 8,
        OCTETS,
    ),
    "1,000,000 empty strings": lambda: (
        _v2(1_000_000, datatype="BYTES", parameters={"binary_data_size": 4_000_000})
        + bytes(4_000_000),
        OCTETS,
    ),
    "100,000 inputs": lambda: (b'{"inputs": [' + b'{"name": "a"},' * 99_999 + b"{}]}", JSON),
    "100,000 instances of no values": lambda: (
        b'{"instances": [' + b"{}," * 99_999 + b"{}]}",
        JSON,
    ),
    "instances that end early": lambda: (b'{"instances": [' + b"[[[1," * 10_000, JSON),
    "tokens in instances": lambda: (b'{"instances": [NaN, -Infinity, Infinity]}', JSON),
    "100,000 empty rows": lambda: (_in_inputs(b"[" + b"[]," * 99_999 + b"[]]"), JSON),
    "100,000 keys": lambda: (
        b"{" + b",".join(b'"%d": 1' % key for key in range(100_000)) + b"}",
        JSON,
    ),
    "one key 100,000 times": lambda: (b"{" + b'"inputs": 1,' * 99_999 + b'"inputs": 1}', JSON),
    "a number of 100,000 digits": lambda: (_in_inputs(b"9" * 100_000), JSON),
    "an exponent of 100,000 digits": lambda: (_in_inputs(b"1e" + b"9" * 100_000), JSON),
    "numbers beyond every dtype": lambda: (
        _in_inputs(b"[1e400, -1e400, 1e-400, 18446744073709551616, -9223372036854775809]"),
        JSON,
    ),
    "100,000 escapes": lambda: (_in_inputs(b'"' + rb"\u0000" * 100_000 + b'"'), JSON),
    "half of a surrogate": lambda: (_in_inputs(rb'{"\ud800": "\udfff"}'), JSON),
    "zero bytes": lambda: (bytes(100_000), JSON),
    "a million blanks": lambda: (b" " * 1_000_000, JSON),
    "more parts than allowed": lambda: (
        form(*[('Content-Disposition: form-data; name="data"; filename="a"', IMAGE)] * 1000),
        FORM,
    ),
    "100,000 boundaries": lambda: (b"--edge\r\n" * 100_000, FORM),
    "a header without an end": lambda: (b"--edge\r\nContent-Disposition: " + b"x" * 10**6, FORM),
    "100,000 headers": lambda: (b"--edge\r\n" + b"A: b\r\n" * 100_000, FORM),
    "a form of base64": lambda: (
        form(('Content-Disposition: form-data; name="data"', b"A" * 1_000_000)),
        FORM,
    ),
}

#: Bodies that take seconds to make and to read.
HUGE: dict[str, Callable[[], Body]] = {
    "a number of 50,000,000 digits": lambda: (_in_inputs(b"9" * 50_000_000), JSON),
    "a fraction of 50,000,000 digits": lambda: (_in_inputs(b"0." + b"3" * 50_000_000), JSON),
    "a number of 50,000,000 digits in instances": lambda: (
        b'{"instances": [%s]}' % (b"9" * 50_000_000),
        JSON,
    ),
    "a number of 50,000,000 digits in data": lambda: (
        _v2(1, 4, 4, 3, data=[0]).replace(b"[0]", b"[%s]" % (b"9" * 50_000_000)),
        JSON,
    ),
    "25,000,000 numbers in data": lambda: (
        _v2(1, 4, 4, 3, data=[0]).replace(b"[0]", b"[" + b"1," * 24_999_999 + b"1]"),
        JSON,
    ),
    "50,000,000 bytes of a tensor": lambda: (
        _v2(10**6, 4, 4, 3, parameters={"binary_data_size": 48 * 10**6}) + bytes(48 * 10**6),
        OCTETS,
    ),
    "25,000,000 numbers": lambda: (_in_inputs(b"[" + b"1," * 24_999_999 + b"1]"), JSON),
    "2,000,000 rows of lists": lambda: (_in_inputs(b"[" + b"[[1]]," * 1_999_999 + b"[[1]]]"), JSON),
    "a string of 50,000,000 bytes": lambda: (_in_inputs(b'"' + b"A" * 50_000_000 + b'"'), JSON),
    "10,000,000 opening brackets": lambda: (b"[" * 10_000_000, JSON),
    "base64 of 50,000,000 bytes": lambda: (b"iVBORw0KGgo" + b"A" * 50_000_000, "text/plain"),
    "200 images of many pixels": lambda: (
        form(
            *[
                (
                    'Content-Disposition: form-data; name="data"; filename="a"',
                    claims("PNG", 9999, 99),
                )
            ]
            * 200
        ),
        FORM,
    ),
    "a form of 5,000,000 boundaries": lambda: (b"--edge\r\n" * 5_000_000, FORM),
    "a form without a boundary": lambda: (b"\r\n--edg" * 7_000_000, FORM),
}

# Random bodies.

_KEYS = (
    "inputs signature_name name shape datatype data b64 outputs id image "
    "UINT8 BYTES predict instances parameters binary_data_size examples"
)
_WORDS = st.sampled_from([*_KEYS.split(), TEXT, TEXT[:40], ""])
_TEXTS = _WORDS | st.text(max_size=8)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=12,
)
_DOCUMENTS = st.dictionaries(_WORDS, _VALUES, max_size=4) | _VALUES
_FILES = [
    *(IMAGE, IMAGE[:40], claims("PNG", 30_000, 30_000), claims("JPEG", 1, 1), b"GIF89a", b""),
    *(TEXT.encode(), orjson.dumps({"b64": TEXT}), b"{}", b"--edge", b"\r\n--edge--"),
]
_CONTENTS = st.sampled_from(_FILES) | st.binary(max_size=60)
_NAMES = st.sampled_from(["data", "data[]", "image", "file", "meta", ""]) | st.text(max_size=5)


@st.composite
def _parts(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a part of a form: its headers and its content."""
    head = f'Content-Disposition: form-data; name="{draw(_NAMES)}"'
    if draw(st.booleans()):
        head += f'; filename="{draw(_NAMES)}"'
    kinds = ["image/png", JSON, "text/plain", "multipart/mixed; boundary=x", "?"]
    if draw(st.booleans()):
        head += f"\r\nContent-Type: {draw(st.sampled_from(kinds))}"
    if draw(st.integers(0, 9)) == 0:
        codings = ["base64", "quoted-printable", "8bit"]
        head += f"\r\nContent-Transfer-Encoding: {draw(st.sampled_from(codings))}"
    return head, draw(_CONTENTS)


@st.composite
def _damaged(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Draw one of *bodies*, often with a slice of it replaced by other bytes."""
    body = draw(bodies)
    if draw(st.booleans()):
        start, stop = sorted(draw(st.tuples(*[st.integers(0, len(body))] * 2)))
        body = body[:start] + draw(st.binary(max_size=4)) + body[stop:]
    return body


_FORMS = st.lists(_parts(), max_size=6).map(lambda parts: form(*parts))
_JSON = _DOCUMENTS.map(orjson.dumps)
_KINDS = st.sampled_from(
    [
        *(JSON, FORM, "multipart/form-data", "multipart/mixed; boundary=edge", "image/png"),
        *("text/plain", "application/octet-stream", "application/x-www-form-urlencoded", ""),
    ]
)

#: A body, with its own Content-Type or another one.
BODIES: st.SearchStrategy[Body] = (
    st.tuples(_damaged(_FORMS), st.just(FORM))
    | st.tuples(_damaged(_JSON), st.just(JSON))
    | st.tuples(_damaged(_FORMS | _JSON | _CONTENTS), _KINDS)
)
