"""HEAD and OPTIONS of every route: what balancers and tools ask for."""

from collections.abc import Iterator

import pytest

from server.http.messages import Operation, Route
from tests.fakes.described import DescribedServer
from tests.fakes.http import Answer, read_answers, request
from tests.fakes.wire import WireServer, klein_front_end

pytestmark = pytest.mark.usefixtures("log")

NAMES = {"model": "open", "version": "1", "label": "none"}

#: Fields that differ from one answer to the next.
PASSING = {"date", "x-request-id"}


@pytest.fixture(name="served", scope="module")
def _served() -> DescribedServer:
    """Return a server of one model."""
    return DescribedServer("open")


def described(served: DescribedServer) -> Iterator[tuple[Route, Operation]]:
    """Yield each operation of *served*, with its route."""
    for route in served.routes:
        for operation in route.operations:
            yield route, operation


def by_klein(served: DescribedServer, sent: bytes) -> Answer:
    """Return the answer of the Klein front end with the routes of *served*."""
    server = WireServer(klein_front_end, more=served.routes, clock=served.clock)
    client = server.connect()
    client.send(sent)
    return read_answers(client.received, bodies=not sent.startswith(b"HEAD"))[0]


def test_every_get_may_be_a_head(served: DescribedServer) -> None:
    """With the same fields, and no body."""
    for route, operation in described(served):
        path = operation.path.format(**NAMES)
        if route.method == "GET" and path not in {"/metrics", "/openapi.json"}:  # made on threads
            whole = served.ask("GET", path)
            fields = {k: v for k, v in whole.headers.items() if k not in PASSING}
            client = served.server.connect()
            client.send(request("HEAD", path))
            (answer,) = client.answers
            for head in (answer, by_klein(served, request("HEAD", path))):
                assert (head.status, head.body) == (whole.status, b""), path
                assert {k: v for k, v in head.headers.items() if k not in PASSING} == fields, path


def test_every_path_answers_options_with_its_methods(served: DescribedServer) -> None:
    """In both front ends, without a body."""
    methods: dict[str, set[str]] = {}
    for route, operation in described(served):
        own = methods.setdefault(operation.path, {"OPTIONS"})
        own |= {"GET", "HEAD"} if route.method == "GET" else {route.method}
    for path, expected in methods.items():
        sent = request("OPTIONS", path.format(**NAMES))
        for answer in (
            served.ask("OPTIONS", path.format(**NAMES)),
            by_klein(served, sent),
        ):
            assert (answer.status, answer.body) == (200, b"")
            assert set(answer.headers["allow"].split(", ")) == expected, path
            assert answer.headers["content-length"] == "0"


def test_the_server_has_its_methods(served: DescribedServer) -> None:
    """Those that some path answers."""
    for answer in (served.ask("OPTIONS", "*"), by_klein(served, request("OPTIONS", "*"))):
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["allow"] == "GET, HEAD, POST, PUT, OPTIONS"


def test_a_balancer_finds_the_server_alive(served: DescribedServer) -> None:
    """As KServe's version 1 has it."""
    assert served.ask("GET", "/").json() == {"status": "alive"}
