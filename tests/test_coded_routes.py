"""Content codings on all routes: server/api/coded_routes.py."""

import gzip
import json
import zlib
from collections.abc import Callable, Mapping

import pytest

from tests.fakes.described import DescribedServer
from tests.fakes.http import request

pytestmark = pytest.mark.usefixtures("log")

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": lambda body: zlib.compress(body)[2:-4],  # raw
}

DECODERS: dict[str | None, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}

TENSOR = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}

#: A request that takes a body, in each dialect, and for each kind of route.
REQUESTS: dict[str, tuple[str, str, object]] = {
    "native": ("POST", "/models/open", {"inputs": {"x": [[1, 2]]}}),
    "v1": ("POST", "/v1/models/open:predict", {"instances": [[1, 2]]}),
    "v2": ("POST", "/v2/models/open/infer", {"inputs": [TENSOR]}),
    "label": ("PUT", "/models/pets/labels/stable", {"version": 1}),
    "repository": ("POST", "/v2/repository/index", {"ready": True}),
}


@pytest.fixture(name="served")
def _served() -> DescribedServer:
    """Return a server of two models."""
    return DescribedServer("open", "pets")


def coded(body: bytes, coding: str) -> tuple[bytes, Mapping[str, str]]:
    """Return *body* in *coding*, and its header."""
    return CODINGS[coding](body), {"Content-Encoding": coding}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("name", REQUESTS)
def test_every_route_takes_compressed_bodies(
    served: DescribedServer, name: str, coding: str
) -> None:
    """And answers as to the body itself."""
    method, path, content = REQUESTS[name]
    body = json.dumps(content).encode()
    plain = served.ask(method, path, body)
    answer = served.ask(method, path, *coded(body, coding))
    assert (answer.status, answer.body) == (200, plain.body)
    assert served.server.limits.held == 0


#: How each dialect writes an error.
ERRORS = {"native": ["error", "request_id", "status"], "v1": ["error"], "v2": ["error"]}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize(
    ("body", "coding", "status", "error"),
    [
        (b"{}", "br", 415, "Content-Encoding 'br' is not supported; "),
        (b"{}", "gzip, gzip", 415, "Content-Encoding 'gzip, gzip' is not supported; "),
        (b"{}", "gzip", 400, "the body is not in Content-Encoding gzip: "),
        (gzip.compress(b"{}")[:-1], "gzip", 400, "the body is cut short, or "),
        (gzip.compress(bytes(1 << 20)), "gzip", 413, "the decoded body is more than 65536 bytes"),
    ],
)
def test_each_dialect_refuses_a_wrong_body_in_its_own_form(
    served: DescribedServer, name: str, body: bytes, coding: str, status: int, error: str
) -> None:
    """An unknown coding with those that are known."""
    method, path, _ = REQUESTS[name]
    answer = served.ask(method, path, body, {"Content-Encoding": coding})
    assert (answer.status, sorted(answer.json())) == (status, ERRORS[name])
    assert answer.error.startswith(error)
    assert answer.headers.get("accept-encoding") == ("gzip, deflate" if status == 415 else None)
    assert served.server.limits.held == 0


def test_an_unknown_coding_is_refused_before_its_body_is_received(served: DescribedServer) -> None:
    """By the head, which is complete."""
    client = served.server.connect()
    body = bytes(1000)
    sent = request("POST", "/models/open", body, {"Content-Encoding": "br"})
    client.send(sent[: -len(body)])
    assert client.answer.status == 415


def test_decoded_bytes_are_held_until_the_answer(served: DescribedServer) -> None:
    """They count as the bytes of any body, so that small bombs together are no large one."""
    limits = served.server.limits
    limits.max_held = 3000
    method, path, content = REQUESTS["native"]
    body = json.dumps(content).encode()
    sent, headers = coded(body + b" " * 2000, "gzip")
    assert served.ask(method, path, sent, headers).status == 200
    limits.hold(0, 1000)
    refused = served.ask(method, path, sent, headers)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert limits.held == 1000


def test_no_body_is_decoded_on_the_reactor_thread(served: DescribedServer) -> None:
    """A client that hangs up withdraws its body."""
    client = served.server.connect()
    body, headers = coded(b"{}", "gzip")
    client.send(request("POST", "/models/open", body, headers))
    assert served.pool.pending == 1
    client.hang_up()
    assert (served.pool.pending, served.server.limits.held) == (0, 0)


def test_a_body_that_waits_for_a_thread_is_refused_at_its_deadline(
    served: DescribedServer,
) -> None:
    """As a request whose feed waits."""
    client = served.server.connect()
    body, headers = coded(b"{}", "gzip")
    timeout = {"X-Request-Timeout-Ms": "50"}
    client.send(request("POST", "/models/open", body, {**headers, **timeout}))
    served.clock.advance(0.06)
    assert client.answer.status == 504
    assert served.server.limits.held == 0


# --- answers


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("deflate, gzip;q=0", "deflate"),
        ("gzip;q=0", None),
        ("*", "gzip"),
        ("", None),
    ],
)
def test_a_report_is_compressed_for_those_that_accept_it(
    served: DescribedServer, accepted: str, coding: str | None
) -> None:
    """A cache keeps it with the Accept-Encoding of its request."""
    plain = served.ask("GET", "/openapi.json")
    answer = served.ask("GET", "/openapi.json", b"", {"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == coding
    assert plain.headers["vary"] == answer.headers["vary"] == "Accept-Encoding"
    decode = DECODERS.get(coding, bytes)
    assert decode(answer.body) == plain.body


def test_a_short_report_is_not_compressed(served: DescribedServer) -> None:
    """Nothing depends on the header then."""
    answer = served.ask("GET", "/v2", b"", {"Accept-Encoding": "gzip"})
    assert answer.headers.keys().isdisjoint({"content-encoding", "vary"})


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize(("accepted", "coding"), [("gzip", "gzip"), ("gzip, deflate", None)])
def test_numbers_are_compressed_for_those_that_name_one_coding(
    served: DescribedServer, name: str, accepted: str, coding: str | None
) -> None:
    """Most libraries name several in each request."""
    method, path, content = REQUESTS[name]
    numbers = [1.5, 2.5] * 300
    rows, wide = [numbers], {**TENSOR, "shape": [1, 600], "data": numbers}
    content = {"native": {"inputs": {"x": rows}}, "v1": {"instances": rows},
        "v2": {"inputs": [wide]}}[name]  # fmt: skip
    body = json.dumps(content).encode()
    plain = served.ask(method, path, body)
    answer = served.ask(method, path, body, {"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == coding
    assert (gzip.decompress(answer.body) if coding else answer.body) == plain.body
