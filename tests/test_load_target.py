"""Find a server by its URL, and write requests to it: scripts/load/target.py."""

import socket
from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.task import Clock

from scripts.load.payloads import Payload
from scripts.load.target import Target, UnreachableError, parse_url
from tensorferry import __version__

PAYLOAD = Payload(b"\x00\xffbody", "image/png")


@pytest.mark.parametrize(
    ("url", "secure", "host", "port", "path"),
    [
        ("localhost:12480", False, "localhost", 12480, "/"),
        ("localhost", False, "localhost", 80, "/"),
        ("http://Example.org/a/b?k=5&x=%20", False, "example.org", 80, "/a/b?k=5&x=%20"),
        ("https://example.org", True, "example.org", 443, "/"),
        ("https://example.org:8443/#part", True, "example.org", 8443, "/"),
        ("http://[::1]:8080?a=b", False, "::1", 8080, "/?a=b"),
    ],
)
def test_a_url_names_a_server(url: str, secure: bool, host: str, port: int, path: str) -> None:
    """By default with HTTP; the query is sent, the fragment is not."""
    assert parse_url(url) == Target(url, secure, host, port, path)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "expected a URL such as http://localhost:12480, got ''"),
        ("ftp://host/", "expected an http or https URL, got 'ftp://host/'"),
        ("http://:80/", "expected a URL such as"),
        ("http://user:secret@host/", "a URL with a user name is not supported"),
        ("http://@host/", "a URL with a user name is not supported"),
        ("http://host:99999/", "Port out of range"),
        ("http://host:port/", "Port could not be cast"),
        ("http://[::1/", "Invalid IPv6 URL"),
        ("http://host/a b", "expected a path of ASCII characters, others as %XX, got '/a b'"),
        ("http://host/b\u00fccher", "expected a path of ASCII characters"),
        ("http://host/?q=\u00e9", "expected a path of ASCII characters"),
        ("http://host/a\r\nX: y", "expected a path of ASCII characters"),
        ("http://host/\x7f", "expected a path of ASCII characters"),
        ("http://b\u00fccher.example/", "expected a host name of ASCII characters"),
        ("http://\u4e2d.example/", "expected a host name of ASCII characters"),
        ("http://a b/", "expected a host name of ASCII characters"),
        ("http://a\x00b/", "expected a host name of ASCII characters"),
    ],
)
def test_a_bad_url_is_refused(url: str, message: str) -> None:
    """In words, before anything is sent."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        parse_url(url)
    assert message in str(caught.value)


def test_a_request_is_a_post_of_the_payload() -> None:
    """To the last byte."""
    head = (
        "POST /p?q=1 HTTP/1.1\r\n"
        "Host: localhost:12480\r\n"
        f"User-Agent: tensorferry-loadtest/{__version__}\r\n"
        "Accept: */*\r\n"
        "Content-Type: image/png\r\n"
        "Content-Length: 6\r\n"
        "\r\n"
    )
    assert parse_url("localhost:12480/p?q=1").request(PAYLOAD) == head.encode() + PAYLOAD.body


def fields(request: bytes) -> list[tuple[str, str]]:
    """Return the headers of a request in their order."""
    head = request.partition(b"\r\n\r\n")[0].decode("latin-1")
    return [(name, value) for name, _, value in (ln.partition(": ") for ln in head.split("\r\n"))][
        1:
    ]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://a.example", "a.example"),
        ("http://a.example:80", "a.example"),
        ("http://a.example:443", "a.example:443"),
        ("https://a.example:443", "a.example"),
        ("https://a.example:80", "a.example:80"),
        ("http://[::1]", "[::1]"),
        ("http://[2001:db8::7]:8080", "[2001:db8::7]:8080"),
    ],
)
def test_the_host_is_named_as_a_browser_names_it(url: str, host: str) -> None:
    """Without the default port of the scheme; IPv6 in brackets."""
    assert dict(fields(parse_url(url).request(PAYLOAD)))["Host"] == host


def test_headers_replace_those_of_the_same_name() -> None:
    """Whatever the case; others are added, each of two."""
    headers = (("content-TYPE", "text/plain"), ("X-A", "1"), ("x-a", "2"), ("Host", "other"))
    found = fields(parse_url("localhost").request(PAYLOAD, headers))
    assert found[0][0] == "User-Agent"
    assert found[1:] == [("Accept", "*/*"), ("Content-Length", "6"), *headers]


class FakeSocketModule:
    """Replaces the module `socket`: addresses of a name, which accept or refuse connections."""

    AF_INET6, SOCK_STREAM = socket.AF_INET6, socket.SOCK_STREAM

    def __init__(self, **addresses: OSError | None) -> None:
        self.addresses = addresses  #: "4" or "6", and why a connection fails
        self.tried: list[str] = []

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        """Return an address for each family."""
        if not self.addresses:
            raise socket.gaierror(-2, "Name or service not known")
        families = {"four": (socket.AF_INET, "192.0.2.1"), "six": (socket.AF_INET6, "2001:db8::1")}
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port))
            for family, address in map(families.__getitem__, self.addresses)
        ]

    def socket(self, family: int, *_: object) -> "FakeSocketModule":
        """Return itself as the socket."""
        self.tried.append("six" if family == socket.AF_INET6 else "four")
        return self

    def __enter__(self) -> "FakeSocketModule":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def settimeout(self, seconds: float) -> None:
        """Do nothing."""

    def connect(self, address: object) -> None:
        """Accept, or not."""
        if (error := self.addresses[self.tried[-1]]) is not None:
            raise error


REFUSED = ConnectionRefusedError(111, "Connection refused")


@pytest.mark.parametrize(
    ("addresses", "found", "tried"),
    [
        ({"six": None, "four": None}, TCP6ClientEndpoint, ["six"]),
        ({"six": REFUSED, "four": None}, TCP4ClientEndpoint, ["six", "four"]),
        ({"four": None}, TCP4ClientEndpoint, ["four"]),
        ({}, "cannot resolve a.example: Name or service not known", []),
        ({"four": REFUSED}, "cannot connect to a.example port 80: Connection refused", ["four"]),
        ({"four": TimeoutError("")}, "cannot connect to a.example port 80: no answer", ["four"]),
    ],
)
def test_the_first_address_that_accepts_is_the_one(
    monkeypatch: pytest.MonkeyPatch,
    addresses: dict[str, OSError | None],
    found: type | str,
    tried: list[str],
) -> None:
    """A server on one family alone is found; an unreachable one is an error of one line."""
    network = FakeSocketModule(**addresses)
    monkeypatch.setattr("scripts.load.target.socket", network)
    if isinstance(found, type):
        assert isinstance(parse_url("http://a.example").endpoint(Clock(), 5.0), found)
    else:
        with pytest.raises(UnreachableError) as caught:
            parse_url("http://a.example").endpoint(Clock(), 5.0)
        assert str(caught.value) == found
    assert network.tried == tried


@pytest.mark.parametrize("host", ["a..example", "a" * 64 + ".example"])
def test_an_invalid_host_name_is_an_error_of_one_line(host: str) -> None:
    """Without a query to a name server."""
    with pytest.raises(UnreachableError, match=f"cannot resolve {host}: "):
        parse_url(f"http://{host}").endpoint(Clock(), 5.0)
