"""
Prove a version of a model before it takes requests: `golden.jsonl` in its folder.

Each line is a JSON object: a request, and the answer that the model must give.  ``request`` is a
JSON body as `POST /` takes it, or ``file`` the path of an image within the folder; ``k`` is the
number of labels in the answer.  Numbers of the answer may differ from those in ``expected`` by
``tolerance`` times the larger of 1 and the expected number, by default `DEFAULT_TOLERANCE`.
"""

from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import cast

import orjson

from batcher.error_kind import RequestError
from model.errors import ModelError
from server.api.dialect import Dialect
from server.call import RequestOptions
from server.http.error_statuses import HTTPError
from server.http.messages import HTTPRequest, HTTPResponse
from server.inference import Inference

#: The name of the file.
GOLDEN = "golden.jsonl"

DEFAULT_TOLERANCE = 1e-3

_NUMBERS = (int, float)
_KEYS = {"request", "file", "k", "expected", "tolerance"}


@dataclass(frozen=True, slots=True)
class GoldenRequest:
    """One line of the file."""

    line: int
    body: bytes
    k: int | None
    expected: object
    tolerance: float


def read_golden(folder: Path) -> list[GoldenRequest]:
    """
    Return the lines of the golden.jsonl in *folder*; [] if there is none.

    Blocks on the disk.  Raises `ModelError` for a line that is not as this module describes.
    """
    path = folder / GOLDEN
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    return [_read(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _read(path: Path, number: int, line: bytes) -> GoldenRequest:
    try:
        row = orjson.loads(line)
        _check(isinstance(row, dict), "an object")
        unknown = sorted(set(row) - _KEYS)
        _check(not unknown, f"only the keys {', '.join(sorted(_KEYS))}, not {unknown}")
        _check("expected" in row, "the key expected")
        _check(("request" in row) != ("file" in row), "either request or file")
        k, tolerance = row.get("k"), row.get("tolerance", DEFAULT_TOLERANCE)
        _check(k is None or type(k) is int, "a whole number as k")
        _check(type(tolerance) in (int, float) and tolerance >= 0, "a number as tolerance")
        body = orjson.dumps(row["request"]) if "request" in row else _file(path, row["file"])
    except (ValueError, OSError) as error:
        raise ModelError(f"{path}: line {number}: {error}") from error
    return GoldenRequest(number, body, k, row["expected"], float(tolerance))


def _check(fits: bool, expected: str) -> None:
    if not fits:
        raise ValueError(f"expected {expected}")


def _file(path: Path, name: object) -> bytes:
    within = Path(str(name))
    _check(
        isinstance(name, str) and not within.is_absolute() and ".." not in within.parts,
        "the path of a file within the folder",
    )
    return (path.parent / within).read_bytes()


async def prove(inference: Inference, golden: list[GoldenRequest], dialect: Dialect) -> None:
    """Run the *golden* requests; raise `ModelError` for the first that is not answered right."""
    for each in golden:
        try:
            call = dialect.read(inference.model, _request(each), RequestOptions())
            answer: HTTPResponse = await inference.run(call)
            found = orjson.loads(answer.body)
        except (RequestError, HTTPError) as error:
            raise ModelError(f"{GOLDEN}: line {each.line}: the request failed: {error}") from error
        if difference := _difference(each.expected, found, each.tolerance):
            raise ModelError(f"{GOLDEN}: line {each.line}: {difference}")


def _request(golden: GoldenRequest) -> HTTPRequest:
    return HTTPRequest(
        method="POST",
        path="/",
        rest="",
        headers={},
        request_id=f"{GOLDEN}:{golden.line}",
        received=0.0,
        connection=None,
        query={} if golden.k is None else {"k": (str(golden.k),)},
        body=golden.body,
    )


def _difference(expected: object, answer: object, tolerance: float, where: str = "") -> str:
    """Return where and how *answer* differs from *expected*, in words; "" if it does not."""
    if type(expected) in _NUMBERS and type(answer) in _NUMBERS:
        number, got = cast("float", expected), cast("float", answer)
        allowed = tolerance * max(1.0, abs(number))
        if number == got or (isnan(number) and isnan(got)) or abs(number - got) <= allowed:
            return ""
    elif isinstance(expected, list) and isinstance(answer, list) and len(expected) == len(answer):
        pairs = enumerate(zip(expected, answer, strict=True))
        found = (_difference(e, a, tolerance, f"{where}[{at}]") for at, (e, a) in pairs)
        return next(filter(None, found), "")
    elif isinstance(expected, dict) and isinstance(answer, dict) and set(expected) == set(answer):
        found = (_difference(expected[it], answer[it], tolerance, f"{where}.{it}") for it in answer)
        return next(filter(None, found), "")
    elif type(expected) is type(answer) and expected == answer:
        return ""
    return f"expected {_short(expected)}{where and f' at {where}'}, got {_short(answer)}"


def _short(value: object) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 80 else f"{text[:77]}..."
