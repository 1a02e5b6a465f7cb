"""Requests and answers of the v2 protocol, from tests/tables/kserve."""

import gzip
import json
import zlib
from collections.abc import Callable

import pytest

from tests.fakes.http import Answer, read_answers
from tests.fakes.kserve import KServeServer
from tests.fakes.tables import JSON_LENGTH, Pair, normal, pairs_in

pytestmark = pytest.mark.usefixtures("log")

PAIRS = pairs_in("kserve")

_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


def parts_of(answer: Answer) -> tuple[bytes, bytes]:
    """Return the JSON of *answer*, and the bytes after it."""
    coding = answer.headers.get("content-encoding")
    body = answer.body if coding is None else _DECODERS[coding](answer.body)
    length = int(answer.headers.get(JSON_LENGTH.lower(), len(body)))
    return body[:length], body[length:]


def test_there_are_enough_pairs_with_names_of_their_own() -> None:
    """The names are the ids of the tests."""
    names = [pair.name for pair in PAIRS]
    assert len(names) >= 90
    assert sorted(set(names)) == sorted(names)


@pytest.fixture(scope="module")
def shared() -> KServeServer:
    """Return a server for all requests but those for statistics."""
    return KServeServer()


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_a_request_is_answered_as_the_table_says(shared: KServeServer, pair: Pair) -> None:
    """Over the wire: status, headers and body."""
    served = KServeServer() if pair.path.endswith("/stats") else shared
    client = served.send(pair.method, pair.path, pair.sent, pair.sent_headers)
    (answer,) = read_answers(client.received)
    assert answer.status == pair.status, answer.body
    content, tail = parts_of(answer)
    if pair.answer is not None:
        assert normal(content) == normal(pair.answer)
    if pair.error is not None:
        assert normal(content) == normal(json.dumps({"error": pair.error}))
    if pair.text is not None:
        assert content.decode() == pair.text
    assert pair.answer is not None or pair.error is not None or pair.text is not None
    assert tail == bytes.fromhex(pair.answer_tail or "")
    kind = "application/json" if pair.answer_tail is None else "application/octet-stream"
    assert answer.headers["content-type"] == kind
    assert (JSON_LENGTH.lower() in answer.headers) == (pair.answer_tail is not None)
    for name, value in pair.answer_headers.items():
        assert answer.headers.get(name.lower(), "") == value
