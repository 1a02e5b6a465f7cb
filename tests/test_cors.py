"""Cross-origin requests of browsers: server/http/cors.py, by any front end."""

import pytest

from server.http.cors import EXPOSED_HEADERS, Cors
from server.settings.place_kinds import Origin
from server.settings.table import Settings
from tests.fakes.http import Answer, head, request
from tests.fakes.service import ServiceHarness
from tests.fakes.wire import FRONT_ENDS, FrontEnd, WireServer
from tests.wire_cases import BODY, CHUNKED, TIMEOUT, answer, hold

pytestmark = pytest.mark.usefixtures("log")

OURS, OTHER = "https://ours.example", "https://other.example"


@pytest.fixture(params=list(FRONT_ENDS))
def front_end(request: pytest.FixtureRequest) -> FrontEnd:
    """Each front end in turn."""
    return FRONT_ENDS[request.param]


def cors_fields(answer: Answer) -> dict[str, str]:
    """Return the fields of CORS in *answer*, without what precedes their names."""
    begin = "access-control-"
    return {k.removeprefix(begin): v for k, v in answer.headers.items() if k.startswith(begin)}


def head_of(origin: str, *lines: str) -> bytes:
    """Return the head of a POST from *origin*."""
    # A field counts when the next one begins: it may go on in the next line.
    return head(f"Origin: {origin}", *lines)


#: The steps of requests, with ORIGIN for the origin, and the statuses of their answers.
ANSWERED = {
    "an answer": ((request("GET", "/state", headers={"Origin": "ORIGIN"}),), 200),
    "no such path": ((request("GET", "/none", headers={"Origin": "ORIGIN"}),), 404),
    "no such method": ((request("DELETE", "/state", headers={"Origin": "ORIGIN"}),), 405),
    "HEAD": ((request("HEAD", "/state", headers={"Origin": "ORIGIN"}),), 200),
    "a path of bytes": ((request("GET", "/%ff", headers={"Origin": "ORIGIN"}),), 400),
    "too long": ((head_of("ORIGIN", "Content-Length: 101"),), 413),
    "too busy": ((request(target="/busy", body=BODY, headers={"Origin": "ORIGIN"}),), 429),
    "no room": ((hold(901), head_of("ORIGIN", "Content-Length: 100") + BODY), 429),
    "a long head": ((head_of("ORIGIN", "A: " + "x" * 16_400),), 431),
    "half a head": ((head_of("ORIGIN")[:-2], TIMEOUT), 408),
    "half a body": ((head_of("ORIGIN", "Content-Length: 9"), TIMEOUT), 408),
    "a wrong chunk": ((head_of("ORIGIN", "Transfer-Encoding: chunked") + b"many\r\n",), 400),
}


@pytest.mark.parametrize("origins", [["*"], [OURS, "https://third.example"]])
@pytest.mark.parametrize("case", ANSWERED)
def test_every_answer_to_a_permitted_origin_can_be_read(
    case: str, origins: list[str], front_end: FrontEnd
) -> None:
    """Errors and early refusals, too; the page also reads the headers that the server adds."""
    steps, status = ANSWERED[case]
    for origin in (OURS, OTHER):
        server = WireServer(front_end, cors=Cors(origins))
        client = server.connect()
        for step in steps:
            if isinstance(step, bytes):
                client.send(step.replace(b"ORIGIN", origin.encode()))
            elif isinstance(step, float):
                server.clock.advance(step)
            else:
                step(server)
        expected = {}
        if origins == ["*"] or origin == OURS:
            allowed = "*" if origins == ["*"] else OURS
            expected = {"allow-origin": allowed, "expose-headers": ", ".join(EXPOSED_HEADERS)}
        assert client.answer.status == status
        assert (cors_fields(client.answer), client.answer.headers["vary"]) == (expected, "Origin")


def preflight(origin: str, target: str = "/", method: str = "POST") -> bytes:
    """Return the preflight that a browser sends for a request with *method* to *target*."""
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    return request("OPTIONS", target, headers=headers)


@pytest.mark.parametrize("target", ["/", "/state", "/models/cats", "/m%6fdels/cats", "/own/x?k=1"])
def test_a_preflight_is_answered_for_every_route(target: str, front_end: FrontEnd) -> None:
    """Without a body, and the connection stays open for the request that it is for."""
    server = WireServer(front_end, prefixes=True, cors=Cors([OURS]))
    client = server.connect()
    client.send(preflight(OURS, target), request(headers={"Origin": OURS}, body=b"hello"))
    first, second = client.answers
    assert (first.status, first.body, second.status, second.body) == (204, b"", 200, b"hello")
    assert cors_fields(first) == {
        "allow-origin": OURS,
        "allow-methods": "GET, HEAD, POST, PUT",
        "allow-headers": "*, Authorization",
        "max-age": "7200",
        "expose-headers": ", ".join(EXPOSED_HEADERS),
    }
    assert first.headers["x-request-id"]
    assert not {"content-length", "content-type"} & first.headers.keys()
    assert [(entry.method, entry.status) for entry in server.entries] == [
        ("OPTIONS", 204),
        ("POST", 200),
    ]
    client.hang_up()
    assert server.is_clean()


def test_a_preflight_behind_a_request_waits_for_its_answer(front_end: FrontEnd) -> None:
    """Answers are in the order of the requests."""
    server = WireServer(front_end, later=True, cors=Cors(["*"]))
    client = server.connect()
    client.send(request(body=b"hello") + preflight(OURS))
    assert client.statuses == []
    answer(server)
    assert client.statuses == [200, 204]


@pytest.mark.parametrize(
    ("cors", "sent"),
    [
        (None, preflight(OURS)),
        (Cors([OURS]), preflight(OTHER)),
        (Cors([OURS]), request("OPTIONS", "/", headers={"Origin": OURS})),
        (Cors([OURS]), request("OPTIONS", "/", headers={"Access-Control-Request-Method": "GET"})),
    ],
)
def test_any_other_options_is_a_request_as_usual(
    cors: Cors | None, sent: bytes, front_end: FrontEnd
) -> None:
    """One without CORS, from another origin, or that is no preflight."""
    client = WireServer(front_end, cors=cors).connect()
    client.send(sent)
    assert (client.answer.status, client.answer.headers["allow"]) == (200, "POST, OPTIONS")
    assert "allow-methods" not in cors_fields(client.answer)


def test_without_the_option_no_answer_has_a_field_of_cors(front_end: FrontEnd) -> None:
    """As before."""
    server = WireServer(front_end)
    client = server.connect()
    client.send(request("GET", "/state", headers={"Origin": OURS}), CHUNKED + b"many\r\n")
    assert client.statuses == [200, 400]
    assert [(cors_fields(it), it.headers.get("vary")) for it in client.answers] == [({}, None)] * 2


def test_the_setting_reaches_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """On all addresses, also while no model is ready."""
    harness = ServiceHarness(monkeypatch, Settings(cors_origins=(OURS,)))
    harness.start()
    client = harness.connect()
    client.send(request("GET", "/status", headers={"Origin": OURS}))
    assert (client.answer.status, cors_fields(client.answer)["allow-origin"]) == (503, OURS)
    harness.turn()
    harness.stop()


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("*", "*"),
        ("HTTPS://Example.org", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://example.org:443", "http://example.org:443"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_an_origin_is_written_as_browsers_do(text: str, origin: str) -> None:
    """Then it is equal to the header."""
    assert Origin().parse(text) == origin
