"""
The rules of RFC 9110 and 9112 that a server must keep, one case at least for each.

A name begins with the RFC and the section; else cases are as in `tests.wire_cases`, which has more
about time, the lengths of bodies, refusals by a preflight, and draining.
"""

from collections.abc import Sequence

from tests.fakes.http import chunk, head, request
from tests.fakes.wire import WireServer
from tests.wire_cases import (
    BAD,
    BAD_CHUNKS,
    BUSY,
    CHUNKED,
    CLOSED,
    EXPECT,
    GET,
    LINGERS,
    OPEN,
    POST,
    End,
    Step,
)

LAST_CHUNK = chunk(b"")
OLD = b"POST / HTTP/1.0\r\nContent-Length: 2\r\n"


def get(*lines: str) -> bytes:
    """Return a request for /state with *lines*."""
    return head(*lines, method="GET", target="/state")


def old(*lines: bytes) -> bytes:
    """Return a request of HTTP/1.0 with a body and *lines*."""
    return OLD + b"".join(line + b"\r\n" for line in lines) + b"\r\nhi"


def line(text: bytes) -> bytes:
    """Return a request with *text* as its first line."""
    return text + b"\r\nHost: localhost\r\n\r\n"


def bad_version(text: str) -> str:
    """Return the refusal of the version *text*."""
    return f"505 the version {text} is not HTTP/1.1"


def not_chunked(coding: str) -> str:
    """Return the refusal of *coding*."""
    return f"501 the transfer coding {coding!r} is not chunked"


# fmt: off
MESSAGES: list[tuple[str, Sequence[Step], str, End]] = [
    # RFC 9112, 2: messages
    ("9112 2.2 line ends before the first line", (b"\r\n\r\n" + GET,), "200", OPEN),
    ("9112 2.2 line ends between requests", (GET + b"\r\n\r\n" + POST,), "200 | 200 hello", OPEN),
    ("9112 2.2 a bare LF behind the first line", (b"GET /state HTTP/1.1\nHost: a\r\n\r\n",), BAD,
        LINGERS),
    ("9112 2.2 a bare LF behind a field", (b"GET /state HTTP/1.1\r\nHost: a\n\r\n",), BAD, LINGERS),
    ("9112 2.2 a bare LF as the empty line", (b"GET /state HTTP/1.1\r\nHost: a\r\n\n",), BAD,
        LINGERS),
    ("9112 2.2 bare LFs alone", (b"GET /state HTTP/1.1\nHost: a\n\n",), BAD, LINGERS),
    ("9112 2.2 a bare CR in a value", (get("A: b\rc"),), BAD, LINGERS),
    ("9112 2.2 a bare CR in a name", (get("A\rB: c"),), BAD, LINGERS),
    ("9112 2.2 a bare CR in the first line", (line(b"GET /a\rb HTTP/1.1"),), BAD, LINGERS),
    ("9112 2.2 CR CR LF", (get("A: b\r"),), BAD, LINGERS),
    ("9112 2.2 a blank before the first field", (b"GET /state HTTP/1.1\r\n Host: a\r\n\r\n",), BAD,
        LINGERS),
    ("9112 2.2 a line of blanks before the first field",
        (b"GET /state HTTP/1.1\r\n \r\nHost: a\r\n\r\n",), BAD, LINGERS),
    ("9112 2.2 UTF-16", ("GET /state HTTP/1.1\r\nHost: a\r\n\r\n".encode("utf-16"),), BAD, LINGERS),
    ("9112 2.2 a byte order mark", (b"\xef\xbb\xbf" + GET,), BAD, LINGERS),
    *((f"9112 2.3 the version {version}", (line(b"GET /state " + version.encode()),), BAD, LINGERS)
        for version in ("http/1.1", "HTTP/1", "HTTP/1.10", "HTTP/01.1", "HTTP 1.1", "HTTPS/1.1",
        "ICE/1.0", "HTTP/1.x", "HTTP/-1.1", "HTTP/1,1")),
    *((f"9110 2.5 the version {version}", (line(b"GET /state " + version.encode()),),
        bad_version(version), LINGERS) for version in ("HTTP/2.0", "HTTP/1.9", "HTTP/0.9")),
    ("9110 2.5 HTTP/1.0 is answered as HTTP/1.1", (b"GET /state HTTP/1.0\r\n\r\n",), "200", CLOSED),
    # RFC 9112, 3: the request line
    *((f"9112 3 {name}", (line(text),), BAD, LINGERS) for name, text in {
        "two spaces": b"GET  /state HTTP/1.1",
        "two spaces behind the target": b"GET /state  HTTP/1.1",
        "a tab": b"GET\t/state HTTP/1.1",
        "a blank at the end": b"GET /state HTTP/1.1 ",
        "no target": b"GET  HTTP/1.1",
        "no method": b"/state HTTP/1.1",
        "a vertical tab": b"GET\x0b/state HTTP/1.1",
        "a blank at the beginning": b" GET /state HTTP/1.1",
        "a version alone": b"HTTP/1.1",
        "an answer": b"HTTP/1.1 200 OK",
        "one word more": b"GET /state HTTP/1.1 more",
    }.items()),
    *((f"9112 3.1 the method {name!r}", (line(name.encode() + b" /state HTTP/1.1"),),
        f"501 the method {name} is not known", LINGERS) for name in ("get", "Get", "GETS", "A!")),
    *((f"9112 3.1 the method {name!r}", (line(name.encode() + b" /state HTTP/1.1"),), BAD, LINGERS)
        for name in ("GE(T", "GET,", '"GET"', "G\0T")),
    *((f"9112 3.2 the target {target!r}", (line(b"GET " + target + b" HTTP/1.1"),), BAD, LINGERS)
        for target in (b"\\state", b"?k=1", b"//\x7f", b"/\x80", b"/\t", b"/\0", b"state/more",
        b"#top", b"localhost:80", b"ftp://here/state", b"http:/state", b"http://", b"http:///state",
        b"http://user@here/state", b"http://a:b/state")),
    ("9112 3.2.1 a query", (request("GET", "/state?a=b?c/d"),), "200", OPEN),
    ("9112 3.2.1 an empty query", (request("GET", "/state?"),), "200", OPEN),
    ("9112 3.2.1 a fragment", (request("GET", "/state#top"),), BAD, LINGERS),
    ("9112 3.2.2 an absolute target", (request("GET", "http://a:80/state?k"),), "200", OPEN),
    ("9112 3.2.2 its host precedes that of the field", (request("GET", "http://a/state",
        headers={"Host": "b"}),), "200", OPEN),
    ("9112 3.2.2 without Host", (b"GET http://a/state HTTP/1.1\r\n\r\n",), BAD, LINGERS),
    ("9112 3.2.2 with an empty Host", (request("GET", "http://a/state", headers={"Host": ""}),),
        "200", OPEN),
    ("9112 3.2.3 an authority", (line(b"GET localhost HTTP/1.1"),), BAD, LINGERS),
    ("9112 3.2.3 CONNECT", (request("CONNECT", "localhost:80"), POST), "404 ... | 200 hello", OPEN),
    *((f"9112 3.2.3 CONNECT to {target}", (request("CONNECT", target),), BAD, LINGERS)
        for target in ("/state", "localhost", "http://a:80/", "*", ":80")),
    ("9112 3.2.4 the asterisk", (request("GET", "*"),), BAD, LINGERS),
    ("9112 3.2 no Host", (b"GET /state HTTP/1.1\r\nA: b\r\n\r\n",), BAD, LINGERS),
    ("9112 3.2 two Hosts", (get("Host: localhost"),), BAD, LINGERS),
    ("9112 3.2 two Hosts in any case", (get("hOST: other"),), BAD, LINGERS),
    ("9112 3.2 two Hosts in HTTP/1.0", (b"GET /state HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",), BAD,
        LINGERS),
    ("9112 3.2 no Host in HTTP/1.0", (b"GET /state HTTP/1.0\r\n\r\n",), "200", CLOSED),
    ("9112 3.2 no valid Host in HTTP/1.0", (b"GET /state HTTP/1.0\r\nHost: a b\r\n\r\n",), BAD,
        LINGERS),
    *((f"9112 3.2 the Host {host!r}", (request("GET", "/state", headers={"Host": host}),), "200",
        OPEN) for host in ("", "localhost", "LOCALHOST:8000", "[::1]", "[::1]:8000", "1.2.3.4:",
        "a_b", "%41")),
    *((f"9112 3.2 the Host {host!r}", (request("GET", "/state", headers={"Host": host}),), BAD,
        LINGERS) for host in ("user@here", "a, b", "a:80:80", "[::1", "http://a", "a?b", "a#b",
        "a\\b", "[::1]a", "a:-1", "a\tb")),
]

FIELDS: list[tuple[str, Sequence[Step], str, End]] = [
    # RFC 9112, 5, and RFC 9110, 5: fields
    *((f"9112 5.1 {name}", (get(text),), BAD, LINGERS) for name, text in {
        "a blank before the colon": "A : b",
        "a tab before the colon": "A\t: b",
        "no name": ": b",
        "no colon": "A",
        "a blank before the name": " A: b",
        "no colon, and a blank": "A b",
    }.items()),
    ("9112 5.1 a blank before the colon of a length", (head("Content-Length : 2") + b"hi",), BAD,
        LINGERS),
    ("9112 5.1 a blank before the colon of a coding", (head("Transfer-Encoding : chunked"),), BAD,
        LINGERS),
    ("9112 5.2 a folded value", (get("A: b", " c"),), BAD, LINGERS),
    ("9112 5.2 a value folded by a tab", (get("A: b", "\tc"),), BAD, LINGERS),
    ("9112 5.2 a folded coding", (head("Transfer-Encoding:", " chunked"),), BAD, LINGERS),
    ("9112 5.2 a fold of blanks", (get("A: b", " "),), BAD, LINGERS),
    *((f"9110 5.1 the name {name!r}", (get(f"{name}: b"),), BAD, LINGERS) for name in (
        "A(B", "A/B", "A[", "A@", "A=", "A,B", '"A"', "A\0", "A\x7f", "\xc4")),
    ("9110 5.1 a name of all marks", (get("!#$%&'*+-.^_`|~09az: b"),), "200", OPEN),
    ("9110 5.1 names in any case", (head("cONTENT-lENGTH: 2") + b"hi",), "200 hi", OPEN),
    ("9110 5.1 an unknown field", (get("X-Unknown: a"),), "200", OPEN),
    ("9110 5.3 a field twice", (get("Accept: a", "Accept: b"),), "200", OPEN),
    ("9110 5.5 blanks around a value", (head("Content-Length: \t 2 \t") + b"hi",), "200 hi", OPEN),
    ("9110 5.5 no blank before a value", (head("Content-Length:2") + b"hi",), "200 hi", OPEN),
    ("9110 5.5 no value", (get("A:", "B: "),), "200", OPEN),
    *((f"9110 5.5 the byte {byte!r}", (get("A: b{}c").replace(b"{}", byte),), BAD, LINGERS)
        for byte in (b"\0", b"\1", b"\x0b", b"\x0c", b"\x1b", b"\x7f")),
    *((f"9110 5.5 the bytes {text!r}", (get("A: b{}c").replace(b"{}", text),), "200", OPEN)
        for text in (b"\x80", b"\xff", b"\xc3\xa9", b"\t", b"\\\"")),
    # RFC 9112, 6: the length of the body
    *((f"9112 6.3 the length {value!r}", (head(f"Content-Length: {value}") + b"hi",), BAD, LINGERS)
        for value in ("+2", "-2", "2, 2", "2,3", "2 2", "0x2", "2.0", "1e1", "", "two", "2;", '"2"',
        "\xb2", "18446744073709551616", "9" * 40)),
    ("9112 6.3 leading zeros", (head("Content-Length: 0002") + b"hi",), "200 hi", OPEN),
    ("9112 6.3 a length of 2^63", (head(f"Content-Length: {1 << 63}"),),
        f"413 the body is {1 << 63} bytes, the limit is 100", LINGERS),
    ("9112 6.3 two equal lengths", (head("Content-Length: 2", "Content-Length: 2") + b"hi",), BAD,
        LINGERS),
    ("9112 6.3 two lengths", (head("Content-Length: 2", "Content-Length: 3") + b"hi",), BAD,
        LINGERS),
    ("9112 6.3 no length is no body", (head() + GET,), "200 | 200", OPEN),
    ("9112 6.3 the length 0", (head("Content-Length: 0") + GET,), "200 | 200", OPEN),
    ("9112 6.3 half of a body", (head("Content-Length: 2") + b"h",), "", BUSY),
    ("9112 6.3 no more than the length", (head("Content-Length: 2") + b"hi" + GET,),
        "200 hi | 200", OPEN),
    ("9112 6.3 a body of GET", (get("Content-Length: 2") + b"hi" + POST,), "200 hi | 200 hello",
        OPEN),
    ("9112 6.3 both lengths", (head("Content-Length: 2", "Transfer-Encoding: chunked"),), BAD,
        LINGERS),
    ("9112 6.3 both lengths, the other order", (head("Transfer-Encoding: chunked",
        "Content-Length: 2"),), BAD, LINGERS),
    ("9112 6.1 a coding in HTTP/1.0", (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk(b"hi") + LAST_CHUNK,), BAD, LINGERS),
    *((f"9112 7 the coding {value!r}", (head(f"Transfer-Encoding: {value}") + chunk(b"hi")
        + LAST_CHUNK,), "200 hi", OPEN) for value in ("Chunked", "CHUNKED", "  chunked ")),
    *((f"9112 6.1 the coding {value!r}", (head(f"Transfer-Encoding: {value}"),), not_chunked(value),
        LINGERS) for value in ("deflate, chunked", "x, gzip, Chunked")),
    *((f"9112 6.3 the coding {value!r}", (head(f"Transfer-Encoding: {value}") + chunk(b"hi")
        + LAST_CHUNK,), BAD, LINGERS) for value in ("chunked, gzip", "chunked, chunked", "xchunked",
        "chunked;a=b", "chunkedx", "identity", "compress", "gzip, deflate", "", "\x0bchunked")),
    ("9112 6.1 a chunked coding twice", (head(*["Transfer-Encoding: chunked"] * 2),), BAD, LINGERS),
    ("9112 6.3 a coding behind chunked", (head("Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip"),), BAD, LINGERS),
    ("9112 6.1 codings in two fields", (head("Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked"),), not_chunked("gzip, chunked"), LINGERS),
    ("9110 8.4 an unknown content coding is the endpoint's", (request(body=b"x", headers={
        "Content-Encoding": "br"}),), "200 x", OPEN),
    ("9110 10.1.4 TE", (get("TE: trailers", "Connection: TE"),), "200", OPEN),
    ("9110 6.6.2 Trailer", (head("Transfer-Encoding: chunked", "Trailer: A") + chunk(b"hi")
        + b"0\r\nA: b\r\n\r\n",), "200 hi", OPEN),
]

CHUNKS: list[tuple[str, Sequence[Step], str, End]] = [
    # RFC 9112, 7.1: chunks
    *((f"9112 7.1 {name}", (CHUNKED + data + GET,), "200 hello | 200", OPEN) for name, data in {
        "one chunk": b"5\r\nhello\r\n0\r\n\r\n",
        "leading zeros": b"0005\r\nhello\r\n000\r\n\r\n",
        "several": b"2\r\nhe\r\n1\r\nl\r\n2\r\nlo\r\n0\r\n\r\n",
        "blanks behind a size": b"5 \t\r\nhello\r\n0 \r\n\r\n",
    }.items()),
    ("9112 7.1 digits in lower case", (CHUNKED + b"1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n",),
        "200 " + "x" * 26, OPEN),
    ("9112 7.1 digits in upper case", (CHUNKED + b"1A\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n",),
        "200 " + "x" * 26, OPEN),
    ("9112 7.1 line ends in a chunk", (CHUNKED + b"7\r\nh\r\n0\r\n\r\r\n0\r\n\r\n",),
        "200 h\r\n0", OPEN),
    ("9112 7.1 no data", (CHUNKED + LAST_CHUNK,), "200", OPEN),
    *((f"9112 7.1 the size {size!r}", (CHUNKED + size + b"\r\nhello\r\n0\r\n\r\n",), BAD_CHUNKS,
        LINGERS) for size in (b"", b"+5", b"-5", b"0x5", b" 5", b"5 5", b"5_0", b"g", b"5,", b"5.0",
        b"\xb5", b"5\0", b"F" * 16, b"0" * 15 + b"5", b"10000000000000005", b"5\r")),
    ("9112 7.1 a huge chunk", (CHUNKED + b"7fffffffffffff\r\nhello",), "", BUSY),
    ("9112 7.1 a bare LF behind a size", (CHUNKED + b"5\nhello\r\n0\r\n\r\n",), BAD_CHUNKS,
        LINGERS),
    ("9112 7.1 a bare LF behind a chunk", (CHUNKED + b"5\r\nhello\n0\r\n\r\n",), BAD_CHUNKS,
        LINGERS),
    ("9112 7.1 a bare LF at the end", (CHUNKED + b"5\r\nhello\r\n0\r\n\n",), BAD_CHUNKS, LINGERS),
    ("9112 7.1 a bare CR behind a size", (CHUNKED + b"5\rhello\r\n0\r\n\r\n",), BAD_CHUNKS,
        LINGERS),
    ("9112 7.1 no line end behind a chunk", (CHUNKED + b"5\r\nhello0\r\n\r\n",), BAD_CHUNKS,
        LINGERS),
    ("9112 7.1 a chunk too short", (CHUNKED + b"4\r\nhello\r\n0\r\n\r\n",), BAD_CHUNKS, LINGERS),
    ("9112 7.1 a chunk too long", (CHUNKED + b"6\r\nhello\r\n0\r\n\r\n",), BAD_CHUNKS, LINGERS),
    ("9112 7.1 no empty line", (CHUNKED + b"5\r\nhello\r\n0\r\n",), "", BUSY),
    ("9112 7.1 no last chunk", (CHUNKED + chunk(b"hello"),), "", BUSY),
    *((f"9112 7.1.1 the extension {text!r}", (CHUNKED + b"5" + text + b"\r\nhello\r\n0" + text
        + b"\r\n\r\n" + GET,), "200 hello | 200", OPEN) for text in (b";a", b";a=b", b';a="b;c"',
        b" ; a = b", b";a;b=c", b';a="\xc3\xa9"')),
    ("9112 7.1.1 a bare LF in an extension", (CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n",),
        BAD_CHUNKS, LINGERS),
    ("9112 7.1.1 a bare CR in an extension", (CHUNKED + b"5;a\rb\r\nhello\r\n0\r\n\r\n",),
        BAD_CHUNKS, LINGERS),
    ("9112 7.1.1 a control byte in an extension", (CHUNKED + b"5;a\0\r\nhello\r\n0\r\n\r\n",),
        BAD_CHUNKS, LINGERS),
    ("9112 7.1.1 a long extension", (CHUNKED + b"5;" + b"a" * 1024,), BAD_CHUNKS, LINGERS),
    ("9112 7.1.2 trailer fields are dropped", (CHUNKED + chunk(b"hello") + b"0\r\nContent-Length:"
        b" 9\r\nHost: evil\r\nX: y\r\n\r\n" + GET,), "200 hello | 200", OPEN),
    *((f"9112 7.1.2 the trailer field {text!r}", (CHUNKED + b"0\r\n" + text + b"\r\n\r\n",),
        BAD_CHUNKS, LINGERS) for text in (b"A", b"A : b", b" A: b", b": b", b"A: \0", b"A: b\r\n c",
        b"GET / HTTP/1.1")),
    ("9112 7.1.2 many trailer fields", (CHUNKED + b"0\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * 17,
        ), "431 the trailer fields are over 16384 bytes", LINGERS),
]

CONNECTIONS: list[tuple[str, Sequence[Step], str, End]] = [
    # RFC 9112, 8 and 9: connections
    ("9112 8 an incomplete head", (GET[:-2],), "", BUSY),
    ("9112 9.3 HTTP/1.1 is kept", (GET, GET), "200 | 200", OPEN),
    ("9112 9.3 HTTP/1.1 with keep-alive", (get("Connection: keep-alive"), GET), "200 | 200", OPEN),
    ("9112 9.3 HTTP/1.0 is closed", (old() + GET,), "200 hi", CLOSED),
    ("9112 9.3 HTTP/1.0 with keep-alive", (old(b"Connection: keep-alive") + GET,), "200 hi | 200",
        OPEN),
    ("9112 9.3 keep-alive in any case", (old(b"Connection: Keep-Alive") + GET,), "200 hi | 200",
        OPEN),
    ("9112 9.3 keep-alive, then none", (old(b"Connection: keep-alive") + old() + GET,),
        "200 hi | 200 hi", CLOSED),
    ("9112 9.3 HTTP/1.0 with keep-alive and close", (old(b"Connection: keep-alive, close") + GET,),
        "200 hi", CLOSED),
    ("9112 9.3 HTTP/1.0 with another option", (old(b"Connection: upgrade") + GET,), "200 hi",
        CLOSED),
    *((f"9112 9.6 {text!r}", (get(text) + GET,), "200", CLOSED) for text in ("Connection: close",
        "Connection: CLOSE", "Connection: TE, close", "Connection: close ,x", "connection:close",
        "Connection: keep-alive, Close", "Connection: ,close,")),
    *((f"9110 7.6.1 {text!r}", (get(text) + GET,), "200 | 200", OPEN) for text in ("Connection: x",
        "Connection: closed", "Connection: ", "Connection: TE, x-close", "Connection: not close",
        "Keep-Alive: timeout=5", "Proxy-Connection: close")),
    ("9112 9.6 close in a second field", (get("Connection: x", "Connection: close") + GET,), "200",
        CLOSED),
    ("9112 9.6 close with a body", (request(body=b"hi", headers={"Connection": "close"}) + GET,),
        "200 hi", CLOSED),
    ("9112 9.6 close, not found", (request("GET", "/none", headers={"Connection": "close"}) + GET,),
        "404 ...", CLOSED),
    ("9112 9.3.2 answers in order", (GET + POST + request("GET", "/none") + request("GET", "/")
        + request("GET", "/%73tate") + POST,),
        "200 | 200 hello | 404 ... | 405 ... | 200 | 200 hello", OPEN),
    ("9112 9.3.2 in order, answered later", (request("GET", "/%73tate") + POST + GET, WireServer
        .answer_all), "200 | 200 hello | 200", OPEN),
    ("9112 9.3.2 the answers before a malformed one", (POST + request("GET", "/none") + b"\0" + GET,
        ), f"200 hello | 404 ... | {BAD}", LINGERS),
    ("9112 9.3.2 no answer behind a malformed request", (head("A : b") + GET,), BAD, LINGERS),
    # RFC 9110, 7.8, and RFC 9113, 3: other protocols
    ("9110 7.8 an upgrade is ignored", (get("Connection: Upgrade", "Upgrade: websocket") + POST,),
        "200 | 200 hello", OPEN),
    ("9110 7.8 an upgrade with a body", (head("Connection: Upgrade", "Upgrade: a/1",
        "Content-Length: 2") + b"hi" + GET,), "200 hi | 200", OPEN),
    ("9110 7.8 an upgrade with chunks", (head("Connection: Upgrade", "Upgrade: a/1",
        "Transfer-Encoding: chunked") + chunk(b"hi") + LAST_CHUNK + GET,), "200 hi | 200", OPEN),
    ("9110 7.8 an upgrade in HTTP/1.0", (old(b"Connection: Upgrade", b"Upgrade: a/1") + GET,),
        "200 hi", CLOSED),
    ("9110 7.8 h2c", (get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), POST), "200 | 200 hello", OPEN),
    ("9113 3.4 the preface of HTTP/2", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",),
        bad_version("HTTP/2.0"), LINGERS),
    # RFC 9110, 9 and 15: methods and statuses
    ("9110 9.1 an unknown method", (request("FROB", "/state"),), "501 the method FROB is not known",
        LINGERS),
    *((f"9110 9.1 {name} is not allowed", (request(name, "/state"), GET),
        f"405 {name} /state: allowed methods: GET, HEAD, PUT | 200", OPEN) for name in (
        "DELETE", "PATCH", "TRACE", "PROPFIND", "QUERY")),
    ("9110 9.1 TRACE of no path", (request("TRACE", "/none"),), "404 ...", OPEN),
    ("9110 9.3.2 HEAD", (request("HEAD", "/state") + GET,), "200 | 200", OPEN),
    ("9110 9.3.2 HEAD with a body", (request("HEAD", "/state", b"hello") + GET,), "200 | 200",
        OPEN),
    ("9110 9.3.6 CONNECT with bytes behind it", (request("CONNECT", "here:80") + GET,),
        "404 ... | 200", OPEN),
    ("9110 15.3.5 204 has no body", (request("GET", "/empty") + POST,), "204 | 200 hello", OPEN),
    ("9110 15.4.5 304 has no body", (request("GET", "/same") + POST,), "304 | 200 hello", OPEN),
    ("9110 15.3.5 204 has no body, by Klein", (request("GET", "/%65mpty") + POST,),
        "204 | 200 hello", OPEN),
    # RFC 9110, 10.1.1: Expect
    *((f"9110 10.1.1 {text!r}", (head(text, "Content-Length: 2"), b"hi"), "100 | 200 hi", OPEN)
        for text in (EXPECT, "Expect: 100-Continue", "expect:100-CONTINUE")),
    *((f"9110 10.1.1 {text!r}", (head(text, "Content-Length: 2"),), "417 ...", LINGERS)
        for text in ("Expect: 200-ok", "Expect: 100", "Expect: ", "Expect: 100-continue, a=b")),
    ("9110 10.1.1 chunks", (head(EXPECT, "Transfer-Encoding: chunked"), chunk(b"hi") + LAST_CHUNK),
        "100 | 200 hi", OPEN),
    ("9110 10.1.1 in HTTP/1.0", (old(EXPECT.encode()),), "200 hi", CLOSED),
    ("9110 10.1.1 without a body", (get(EXPECT), GET), "200 | 200", OPEN),
    ("9110 10.1.1 a refusal instead of 100", (head(EXPECT, "Content-Length: 101"),), "413 ...",
        LINGERS),
    ("9110 10.1.1 the next request", (head(EXPECT, "Content-Length: 2"), b"hi" + GET),
        "100 | 200 hi | 200", OPEN),
    ("9110 15.5.15 a long target", (request("GET", "/" + "x" * 16_400),), "414 ...", LINGERS),
    ("6585 5 long fields", (get("A: " + "b" * 16_400),), "431 ...", LINGERS),
]
# fmt: on

RULES = [*MESSAGES, *FIELDS, *CHUNKS, *CONNECTIONS]

#: The rules of these RFCs that have no case here, and why.
WITHOUT_CASE = {
    "9110 4 schemes": "a server is named by its listeners; TLS has tests of its own",
    "9110 6.6.1 Date": "every answer of every case has a Date: `check_answers`",
    "9110 7.2 virtual hosts": "the Host selects nothing",
    "9110 7.6.3 Via, 7.7 transformations": "rules for proxies",
    "9110 8.6 Content-Length of answers": "every answer is read by it, here and by h11",
    "9110 8.7 to 8.8 Content-Location, validators": "no resource has a validator",
    "9110 9.3.5 DELETE, 9.3.7 OPTIONS": "routes decide; tests of the API",
    "9110 11 authentication": "no resource asks for it",
    "9110 12 negotiation": "endpoints decide; tests of the codings",
    "9110 13 conditions, 14 ranges": "no resource has a validator or ranges: both are ignored",
    "9110 15.2.2 101": "no other protocol is accepted, see 7.8",
    "9112 4 the status line": "`test_each_byte_of_an_answer_is_as_documented`, and h11",
    "9112 6.1 codings of answers": "no answer of an endpoint is chunked",
    "9112 8 an incomplete body": "ends by the time limit or a hang-up: `tests.wire_cases`",
    "9112 9.2 pairing, 9.4 concurrency": "rules for clients",
    "9112 9.5 time": "the cases of `tests.wire_cases` about time",
    "9112 9.8 TLS closure": "Twisted's TLS; the server needs no answer to its close",
    "9112 10 message/http": "no such body is read",
}
