"""Tables of requests and answers, as files of TOML, and how one is sent and compared."""

import gzip
import json
import tomllib
import zlib
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLES = Path(__file__).parents[1] / "tables"

#: The header with the length of the JSON part of a body.
JSON_LENGTH = "Inference-Header-Content-Length"

_CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


@dataclass(frozen=True, slots=True)
class Pair:
    """One request, and what is answered; the keys of a row of a table."""

    name: str
    path: str
    status: int
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    body_base64: str = ""  #: for a body that is no text
    tail: str = ""  #: bytes in hexadecimal that follow `body`, whose length a header states then
    coding: str = ""  #: in which `body` is sent
    answer: str | None = None  #: JSON, compared as values; a number keeps its form
    answer_tail: str | None = None  #: bytes in hexadecimal that follow `answer`, as `tail` does
    error: str | None = None  #: the message of the error
    text: str | None = None  #: the body, byte for byte
    answer_headers: dict[str, str] = field(default_factory=dict)  #: "" for a header that is absent

    @property
    def sent(self) -> bytes:
        """The body of the request."""
        body = b64decode(self.body_base64) if self.body_base64 else self.body.encode()
        body += bytes.fromhex(self.tail)
        return _CODERS[self.coding](body) if self.coding else body

    @property
    def sent_headers(self) -> dict[str, str]:
        """The headers of the request."""
        coding = {"Content-Encoding": self.coding} if self.coding else {}
        length = {JSON_LENGTH: str(len(self.body.encode()))} if self.tail else {}
        return length | coding | self.headers


def pairs_in(folder: str) -> list[Pair]:
    """Return the rows of all tables in *folder*; their names begin with those of the files."""
    return [
        Pair(**{**row, "name": f"{path.stem}: {row['name']}"})
        for path in sorted((TABLES / folder).glob("*.toml"))
        for row in tomllib.loads(path.read_text())["pair"]
    ]


def normal(text: bytes | str) -> Any:  # Any: JSON
    """Return the JSON in *text* so that equal values in equal forms are equal, also NaN."""
    return json.dumps(json.loads(text), sort_keys=True)
