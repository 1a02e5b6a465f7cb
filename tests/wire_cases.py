"""
What a client sends, what it receives, and what becomes of its connection: for any front end.

A case is a name, its steps, the answers and the `End`.  A step is bytes that arrive in one segment,
seconds that pass, or a call with the server.  The answers are written as `test_wire.summary` writes
them, joined by " | "; one that ends with "..." may go on.
"""

from collections.abc import Callable, Sequence
from enum import Enum

from server.http.connection import MAX_DISCARDED_BODY_BYTES
from server.lifecycle import State
from tests.fakes.http import chunk, head, request
from tests.fakes.wire import WireServer

Step = bytes | float | Callable[[WireServer], object]


class End(Enum):
    """What becomes of a connection."""

    OPEN = 1  #: it stays open, and is closed without an answer when it is idle too long
    BUSY = 2  #: a request is incomplete or has no answer yet
    CLOSED = 3  #: it is closed when all is sent
    LINGERS = 4  #: it is closed after its client had time to read the refusal


OPEN, BUSY, CLOSED, LINGERS = End


def hold(count: int) -> Callable[[WireServer], object]:
    """Return the step after which the server holds *count* bytes of other bodies."""
    return lambda server: server.hold(count)


def drain(server: WireServer) -> None:
    """Let *server* drain."""
    server.lifecycle.move(State.DRAINING)


def allow_more(server: WireServer) -> None:
    """Let bodies be longer."""
    server.limits.max_body = server.limits.max_held = 1 << 20


answer, answer_all = WireServer.answer, WireServer.answer_all

TIMEOUT = 8.0
CRLF = b"\r\n"
GET, POST = request("GET", "/state"), request(body=b"hello")
LAST = {"Connection": "close"}
CHUNKED, EXPECT = head("Transfer-Encoding: chunked"), "Expect: 100-continue"
BODY = bytes(100)
BUSY_HEAD = head("Content-Length: 100", target="/busy")
BAD = "400 the head of this request is not HTTP/1.1: ..."
BAD_CHUNKS = "400 the body of this request is not chunked as in HTTP/1.1: ..."
LATE_HEAD = "408 the head of the request did not arrive within 8 seconds"
LATE = "408 the request did not arrive within 8 seconds"
LONG = "413 the body is 101 bytes, the limit is 100"
GROWN = "413 the body is more than 100 bytes, which is the limit"
HELD = "429 after 1: the server holds {} bytes of requests, the limit is 1000"
REFUSED = "429 after 3: too busy"
LONG_LINE = "414 the request line is over 16384 bytes"
LONG_HEAD = "431 the header fields are over 16384 bytes"
MANY_FIELDS = "431 the head has more than 500 header fields"
TEXT = "the query is not UTF-8"

# fmt: off
HALVES = {
    "a byte": (b"G", "- - "),
    "half a line": (b"GET / HT", "- - "),
    "a line": (b"GET /p?q HTTP/1.1\r\n", "GET /p?q "),
    "half a head": (b"GET / HTTP/1.1\r\nHost: local", "GET / "),
    "a head": (head("Content-Length: 9"), "POST / "),
    "half a body": (head("Content-Length: 9") + b"half", "POST / "),
    "half a chunk": (CHUNKED + b"5\r\nha", "POST / "),
    "no last chunk": (CHUNKED + chunk(b"half"), "POST / "),
}

#: Requests that are malformed, and what the access log knows of them.
MALFORMED = {
    "no HTTP": (b"hello\r\n", "- - "),
    "HTTP/0.9": (b"GET /\r\n", ""),
    "a method that is no word": (b"G@T / HTTP/1.1\r\n\r\n", ""),
    "a space in the path": (b"GET /a b HTTP/1.1\r\n\r\n", ""),
    "a control character": (b"GET /a\x01 HTTP/1.1\r\n\r\n", ""),
    "bytes in the path": (b"GET /\xff HTTP/1.1\r\n\r\n", ""),
    "a field without a colon": (head("Host localhost", target="/p?q"), "POST /p?q "),
    "a field before others": (head("Host localhost", "A: b", "C: d"), ""),
    "a field's name": (head("Ho st: localhost"), ""),
    "a zero byte": (head("A: b\0c"), ""),
    "a length": (head("Content-Length: many"), ""),
    "a negative length": (head("Content-Length: -1"), ""),
    "two lengths": (head("Content-Length: 1", "Content-Length: 1"), ""),
    "two ways to send a body": (head("Content-Length: 1", "Transfer-Encoding: chunked"), ""),
}

#: Bodies that are malformed.
MALFORMED_BODIES = {
    "a chunk": CHUNKED + b"many\r\n",
    "a chunk behind others": CHUNKED + chunk(bytes(99)) + b"many\r\n",
    "a chunk's end": CHUNKED + b"1\r\nxyz\r\n",
}

#: Requests that a refusal by their heads closes: the next bytes could be a body or a request.
NOT_WORTH_KEEPING = {
    "it expects 100": head("Content-Length: 100", EXPECT, target="/busy"),
    "its body is large": head(f"Content-Length: {MAX_DISCARDED_BODY_BYTES + 1}", target="/busy"),
    "its body may be large": head("Transfer-Encoding: chunked", target="/busy") + chunk(BODY),
    "it is the last request": request(target="/busy", body=BODY, headers=LAST),
    "it is HTTP/1.0": b"POST /busy HTTP/1.0\r\nContent-Length: 100\r\n\r\n",
}

CASES: list[tuple[str, Sequence[Step], str, End]] = [
    # one request after another
    ("nothing", (), "", OPEN),
    ("no body", (GET,), "GET /state 200", OPEN),
    ("a body", (POST,), "POST / 200 hello", OPEN),
    ("chunks", (CHUNKED + chunk(b"hel") + chunk(b"lo") + chunk(b""),), "POST / 200 hello", OPEN),
    ("several", (GET + POST + CHUNKED + chunk(b"x") + chunk(b"") + GET,),
        "200 | 200 hello | 200 x | 200", OPEN),
    ("a line end", (b"\r\n",), "", OPEN),
    ("a line end behind a body", (POST + b"\r\n",), "200 hello", OPEN),
    ("HEAD", (request("HEAD", "/state"),), "HEAD /state 200", OPEN),
    ("HTTP/1.0", (b"GET /state HTTP/1.0\r\n\r\n",), "GET /state 200", CLOSED),
    ("HTTP/1.0 with a body", (b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi",), "200 hi",
        CLOSED),
    ("the last request", (request("GET", "/state", headers=LAST) + GET,), "200", CLOSED),
    ("the last request with a body", (request(body=b"hi", headers=LAST) + POST,), "200 hi", CLOSED),
    ("100 is expected", (head("Content-Length: 100", EXPECT),), "100", BUSY),
    ("100 is expected, with the body", (head("Content-Length: 100", EXPECT), BODY),
        "100 | 200 ...", OPEN),
    ("pipelined requests", (POST + GET + POST, answer), "200 hello", BUSY),
    ("pipelined answers", (POST + GET + POST, answer_all), "200 hello | 200 | 200 hello", OPEN),
    ("many fields", (head(*["A:b"] * 499, method="GET", target="/state") * 2,), "200 | 200", OPEN),
    ("long fields", (head(*["A: " + "x" * 1000] * 16, method="GET", target="/state"),), "200",
        OPEN),
    # time
    *((f"{name}, in time", (half, TIMEOUT - 1), "", BUSY) for name, (half, _) in HALVES.items()),
    *((f"{name}, late", (half, TIMEOUT), f"{line}{LATE if CRLF * 2 in half else LATE_HEAD}",
        LINGERS) for name, (half, line) in HALVES.items()),
    ("idle", (TIMEOUT - 1,), "", OPEN),
    ("idle for too long", (TIMEOUT,), "", CLOSED),
    *((f"a blank {blank!r}", (blank,), BAD, LINGERS) for blank in (b" ", b"\t", b"\n", b"\rx")),
    ("line ends", (b"\r\n", 1.0) * 8, "", CLOSED),
    ("half a line end", (b"\r", TIMEOUT), "", CLOSED),
    ("line ends behind a body", (POST, *(b"\r\n", 1.0) * 8), "200 hello", CLOSED),
    ("a slow head", (7.0, b"GET / HTTP/1.1\r\nX: ", *(1.0, b"x") * 7, 1.0),
        f"GET / {LATE_HEAD}", LINGERS),
    ("a slow body", (7.0, head("Content-Length: 99"), *(1.0, b"x") * 7, 1.0), LATE, LINGERS),
    ("a line end is no request", (POST, b"\r\n", 7.0, GET[:9], 7.0, GET[9:]), "200 hello | 200",
        OPEN),
    ("time of its own", (POST[:9], 7.0, POST[9:], 1000.0, answer, 7.0) * 3,
        "200 hello | 200 hello | 200 hello", OPEN),
    ("time behind an answer", (GET + GET[:9], 1000.0, answer, 7.0), "200", BUSY),
    ("no time behind an answer", (GET + GET[:9], 1000.0, answer, 8.0), f"200 | {LATE_HEAD}",
        LINGERS),
    ("a slow pipelined answer", (GET + POST, answer, 1000.0), "200", BUSY),
    # bodies
    ("the longest body", (head("Content-Length: 100") + BODY,), "200 ...", OPEN),
    ("the longest chunk", (CHUNKED + chunk(BODY) + chunk(b""),), "200 ...", OPEN),
    ("the longest chunks", (CHUNKED + chunk(bytes(99)) + chunk(b"x") + chunk(b""),), "200 ...",
        OPEN),
    ("too long by its head", (head("Content-Length: 101"),), f"POST / {LONG}", LINGERS),
    ("too long, 100 expected", (head("Content-Length: 101", EXPECT),), f"POST / {LONG}", LINGERS),
    ("too long, complete", (head("Content-Length: 101") + bytes(101),), LONG, LINGERS),
    ("a chunk too long", (CHUNKED + chunk(BODY) + b"5\r\nx",), f"POST / {GROWN}", LINGERS),
    ("many chunks too long", (CHUNKED + chunk(BODY) + chunk(b"z") * 50 + chunk(b""),), GROWN,
        LINGERS),
    ("room for a body", (hold(900), head("Content-Length: 100") + BODY), "200 ...", OPEN),
    ("no room for a body", (hold(901), head("Content-Length: 100") + BODY), HELD.format(901),
        LINGERS),
    ("no room for a chunk", (hold(901), CHUNKED + chunk(bytes(99)) + b"1\r\nx"),
        f"POST / {HELD.format(1000)}", LINGERS),
    ("too long, and no room", (hold(1000), CHUNKED + chunk(bytes(101))), GROWN, LINGERS),
    # heads
    *((f"malformed: {name}", (data,), f"{line}{BAD}", LINGERS) for name, (data,
        line) in MALFORMED.items()),
    *((f"malformed: {name}", (data,), BAD_CHUNKS, LINGERS) for name,
        data in MALFORMED_BODIES.items()),
    *((f"the version {line[-3:]!r}", (line + b"\r\n\r\n",),
        f"505 the version {line[-8:].decode()} is not HTTP/1.1", LINGERS) for line in (
        b"PRI * HTTP/2.0", b"GET / HTTP/1.2", b"GET / HTTP/0.9", b"GET / HTTP/3.0")),
    *((f"the coding {value!r}", (head(f"Transfer-Encoding: {value}"),),
        f"501 the transfer coding {value!r} is not chunked", LINGERS) for value in (
        "gzip, chunked", "deflate, gzip, chunked")),
    ("a long first line", (b"GET /" + b"x" * 16_400 + b" HTTP/1.1\r\n",), LONG_LINE, LINGERS),
    ("a first line without an end", (b"GET /" + b"x" * 16_400,), f"- - {LONG_LINE}", LINGERS),
    ("a long field", (head("A: " + "x" * 16_400),), f"POST / {LONG_HEAD}", LINGERS),
    ("a field without an end", (head()[:-2] + b"A" * 16_400,), f"POST / {LONG_HEAD}", LINGERS),
    ("too many long fields", (head(*["A: " + "x" * 1000] * 17),), LONG_HEAD, LINGERS),
    ("too many fields", (head(*["A:b"] * 500),), MANY_FIELDS, LINGERS),
    ("too many fields, no end", (head(*["A:b"] * 502)[:-2],),
        MANY_FIELDS, LINGERS),
    # paths
    *((f"path {path}", (request(target=path, body=b"x"),), "400 the path is not UTF-8",
        LINGERS) for path in ("/%ff", "/%C3", "/a%80b")),
    ("an escaped path", (request("GET", "/%73tate?x=%2F"),), "GET /%73tate?x=%2F 200", OPEN),
    ("a scheme and a host", (request("GET", "http://here/state?x"),), "200", OPEN),
    ("a scheme in capitals", (request("POST", "HTTPS://here:81/?x=http://there/", b"x"),), "200 x",
        OPEN),
    ("a host alone", (request("POST", "http://here", b"x"),), "200 x", OPEN),
    ("a host and a query", (request("POST", "http://here?x=/state", b"x"),), "200 x", OPEN),
    ("a scheme in the path", (request("GET", "/http://here/state"),), "404 ...", OPEN),
    ("no path", (request("GET", "/none"),), "GET /none 404 GET /none: not found", OPEN),
    ("a slash behind", (request("POST", "/state/"),), "404 POST /state/: not found", OPEN),
    ("a letter", (request("GET", "/%C3%A9"),), "404 GET /%C3%A9: not found", OPEN),
    ("no slash", (request("GET", "state"),), BAD, LINGERS),
    ("a method", (request("GET", "/"),), "405 GET /: allowed methods: POST", OPEN),
    ("another method", (request("POST", "/state"),),
        "405 POST /state: allowed methods: GET, HEAD, PUT", OPEN),
    # the methods of a path, and of the server
    ("OPTIONS", (request("OPTIONS", "/state") + GET,), "200 GET, HEAD, PUT, OPTIONS | 200", OPEN),
    ("OPTIONS with a body", (request("OPTIONS", "/state", b"body") + GET,),
        "200 GET, HEAD, PUT, OPTIONS | 200", OPEN),
    ("OPTIONS of an escaped path", (request("OPTIONS", "/%73tate?x"),),
        "200 GET, HEAD, PUT, OPTIONS", OPEN),
    ("OPTIONS of no path", (request("OPTIONS", "/none"),), "404 OPTIONS /none: not found", OPEN),
    ("OPTIONS *", (request("OPTIONS", "*") + GET,),
        "200 GET, HEAD, POST, PUT, OPTIONS | 200", OPEN),
    ("a check of HAProxy", (b"OPTIONS / HTTP/1.0\r\n\r\n",), "200 POST, OPTIONS", CLOSED),
    ("a check of HAProxy for all", (b"OPTIONS * HTTP/1.0\r\n\r\n",),
        "200 GET, HEAD, POST, PUT, OPTIONS", CLOSED),
    ("an unknown method", (request("BREW", "/state"),), "501 the method BREW is not known",
        LINGERS),
    ("CONNECT", (request("CONNECT", "localhost:80"),), "404 ...", OPEN),
    ("a query", (request("POST", "/?k=%ff"),), f"POST /?k=%ff 400 {TEXT}", OPEN),
    ("a name in a query", (request("POST", "/?%ff=1"),), f"400 {TEXT}", OPEN),
    *((f"the host {host!r}", (request(body=b"x", headers={"Host": host}),), "200 x",
        OPEN) for host in ("", "[::1]:80", "a..b", "x" * 300, "a:80", "10.0.0.1")),
    *((f"no host {host!r}", (request(body=b"x", headers={"Host": host}),), BAD, LINGERS)
        for host in ("a b", "\xff", "xn--\xe9", "a/b", "u@a", "a:b", "[::1")),
    ("no Host", (b"GET /state HTTP/1.1\r\n\r\n",), BAD, LINGERS),
    ("two Hosts", (head("Host: localhost"),), BAD, LINGERS),
    ("a cookie", (request(body=b"x", headers={"Cookie": "\xff=\xfe; ="}),), "200 x", OPEN),
    ("a form", (request(body=b"x", headers={"Content-Type": "multipart/form-data"}),), "200 x",
        OPEN),
    # refused by the preflight
    ("busy", (BUSY_HEAD,), f"POST /busy {REFUSED}", OPEN),
    ("busy, half of the body", (BUSY_HEAD + bytes(99),), REFUSED, OPEN),
    ("busy, the body, the next", (BUSY_HEAD + BODY + POST,), f"{REFUSED} | 200 hello", OPEN),
    ("busy again and again", ((BUSY_HEAD + BODY) * 5,), " | ".join([REFUSED] * 5), OPEN),
    ("busy without bodies", (head("Content-Length: 0", target="/busy") * 5,),
        " | ".join([REFUSED] * 5), OPEN),
    ("busy, late", (BUSY_HEAD + b"x", TIMEOUT), REFUSED, CLOSED),
    ("busy, the largest body", (allow_more, head(f"Content-Length: {MAX_DISCARDED_BODY_BYTES}",
        target="/busy"), bytes(MAX_DISCARDED_BODY_BYTES), GET), f"{REFUSED} | 200", OPEN),
    *((f"busy, {name}", (allow_more, data), REFUSED, LINGERS) for name,
        data in NOT_WORTH_KEEPING.items()),
    ("busy and draining", (drain, BUSY_HEAD), REFUSED, LINGERS),
    ("no preflight for another method", (request("PUT", "/busy", b"x"),), "200 x", OPEN),
    ("busy, an absolute target", (request("POST", "http://here/busy", b"x"),), REFUSED, OPEN),
    # draining
    ("draining", (drain, POST + GET), "200 hello", CLOSED),
    ("draining, no path", (drain, request("GET", "/none")), "404 ...", CLOSED),
    ("draining, a query", (drain, request("POST", "/?%ff=1")), f"400 {TEXT}", CLOSED),
]

#: Which route answers: literal ones before prefixes, longer prefixes before shorter ones.
ROUTED: list[tuple[str, str, str]] = [
    ("GET", "/models/list", "200"),
    ("GET", "/models/lis%74", "200"),
    ("GET", "/models/list/", "200 GET /models/* list/"),
    ("GET", "/models/", "200 GET /models/*"),
    ("GET", "/models/cats:predict", "200 GET /models/* cats:predict"),
    ("GET", "/models/cats//7", "200 GET /models/* cats//7"),
    ("GET", "/models/pets", "200 GET /models/* pets"),
    ("GET", "/models/pets/", "200 GET /models/pets/*"),
    ("GET", "/models/pets/7", "200 GET /models/pets/* 7"),
    ("GET", "/models/p%65ts/7", "200 GET /models/pets/* 7"),
    ("POST", "/models/pets/7", "200 POST /models/* pets/7"),
    ("POST", "/models/list", "200 POST /models/* list"),
    ("GET", "/%6dodels/cats", "200 GET /models/* cats"),
    ("GET", "/m%6Fdels%2fcats%3Apredict?k=%20", "200 GET /models/* cats%3Apredict"),
    ("GET", "/models/a%2Fb", "200 GET /models/* a%2Fb"),
    ("GET", "/models/a%0Ab", "200 GET /models/* a%0Ab"),
    ("GET", "/models/%C3%A9", "200 GET /models/* %C3%A9"),
    ("GET", "http://localhost/models/cats?k=1", "200 GET /models/* cats"),
    ("HEAD", "/models/cats", "200"),
    ("PUT", "/models/cats", "405 PUT /models/cats: allowed methods: GET, HEAD, POST"),
    ("PATCH", "/models/list", "405 PATCH /models/list: allowed methods: GET, HEAD, POST, PUT"),
    ("GET", "/models", "404 GET /models: not found"),
]
# fmt: on
