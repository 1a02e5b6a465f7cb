"""Addresses of `--listen`, valid and not: server/http/listen_addresses.py."""

import re
from pathlib import Path

import pytest

from server.http.listen_addresses import with_backlog
from server.lifecycle import StartError
from server.settings.table import Settings
from tests.fakes.service import ServiceHarness

pytestmark = pytest.mark.usefixtures("log", "surroundings")

TCP = "it takes port, interface, backlog"
SSL = "port, privateKey, certKey, sslmethod, interface, backlog, extraCertChain, dhParameters"
COLON = r"a colon inside a part is written \:"
PORT = "port: expected a whole number from 0 to 65535, got "

#: Addresses, and the beginning of the error for each.
WRONG = {
    "foo:12": "unknown kind 'foo': expected tcp, tcp6, unix, ssl, tls, systemd or haproxy",
    "12480": "unknown kind '12480': expected tcp, ",
    ":12480": "unknown kind '': expected tcp, ",
    "TCP:12480": "unknown kind 'TCP': expected tcp, ",
    "fd:3": "unknown kind 'fd': expected tcp, ",
    "stdio": "unknown kind 'stdio': expected tcp, ",
    "http://localhost:80": "unknown kind 'http': expected tcp, ",
    "tcp": "the port is missing, as in tcp:12480",
    "tcp:": "the port is missing, as in tcp:12480",
    "tcp:interface=127.0.0.1": "the port is missing, as in tcp:12480",
    "tcp:port=": "the port is missing, as in tcp:12480",
    "tcp:1:host=127.0.0.1": f"tcp has no part 'host': {TCP}",
    "tcp:1:=x": f"tcp has no part '': {TCP}",
    "tcp:abc": f"{PORT}'abc'",
    "tcp:127.0.0.1:80": f"{PORT}'127.0.0.1'",
    "tcp:65536": f"{PORT}'65536'",
    "tcp:-1": f"{PORT}'-1'",
    "tcp:80.0": f"{PORT}'80.0'",
    "tcp:80:backlog=many": "backlog: expected a whole number, got 'many'",
    "tcp:80:backlog=-1": "backlog: expected a whole number, got '-1'",
    "tcp:80:port=81": f"port is given twice: tcp takes port, interface, backlog; {COLON}",
    "tcp:80:backlog=1:backlog=2": "backlog is given twice: tcp takes ",
    "tcp:80:interface=::1": (
        f"interface is given twice: tcp takes port, interface, backlog; {COLON}"
    ),
    "tcp:80:a:1:x": f"4 parts without a name, but tcp takes port, interface, backlog; {COLON}",
    "tcp6:x": f"{PORT}'x'",
    "tcp6:80:many": "backlog: expected a whole number, got 'many'",
    "unix": "the address is missing, as in unix:/run/tensorferry.sock",
    "unix:": "the address is missing, as in unix:/run/tensorferry.sock",
    "unix:/run/a.sock:mode=rw": "mode: expected an octal number such as 660, got 'rw'",
    "unix:/run/a.sock:lockfile=no": "lockfile: expected 0 or 1, got 'no'",
    "unix:/run/a.sock:port=1": "unix has no part 'port': it takes address, mode, backlog, lockfile",
    "ssl": "the port is missing, as in ssl:443:privateKey=key.pem:certKey=cert.pem",
    "ssl:443:key=a.pem": f"ssl has no part 'key': it takes {SSL}",
    "ssl:443": "privateKey: No such file or directory: 'server.pem'",
    "ssl:443:privateKey=absent.pem": "privateKey: No such file or directory: 'absent.pem'",
    "ssl:443:privateKey=empty.pem:certKey=absent.pem": "certKey: No such file or directory: 'abs",
    "ssl:443:privateKey=empty.pem": "the files hold no certificate with its private key in PEM",
    "tls:absent": "path: expected a folder of PEM files, got 'absent'",
    "systemd:": "the domain is missing, as in systemd:domain=INET:index=0",
    "systemd:domain=INET": "systemd takes an index or a name, and not both",
    "systemd:domain=INET:index=0:name=a": "systemd takes an index or a name, and not both",
    "systemd:domain=IP:index=0": "domain: expected INET, INET6 or UNIX, got 'IP'",
    "systemd:domain=INET:index=first": "index: expected a whole number, got 'first'",
    "systemd:domain=INET:index=9": "systemd has passed no such socket to this process",
    "systemd:domain=INET:name=web": "systemd has passed no such socket to this process",
    "haproxy": "haproxy needs an endpoint after it, such as haproxy:tcp:12480",
    "haproxy:12480": "unknown kind '12480': expected tcp, ",
    "haproxy:tcp:abc": f"{PORT}'abc'",
    "haproxy:tcp:80:host=a": f"tcp has no part 'host': {TCP}",
    "tcp:80\\": "the backslash at its end has no character to escape",
    "unix:/run/a\\": "the backslash at its end has no character to escape",
}


@pytest.mark.parametrize(("description", "message"), WRONG.items())
def test_an_invalid_address_is_refused_with_the_reason(
    description: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In one line with the part and the expected value; nothing is bound."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.pem").touch()
    harness = ServiceHarness(monkeypatch, Settings(listen=(description,)))
    with pytest.raises(StartError) as caught:
        harness.service.privilegedStartService()
    assert re.match(re.escape(f"cannot listen on {description}: {message}"), str(caught.value))
    assert str(caught.value).isprintable()
    assert harness.reactor.ports == []


@pytest.mark.parametrize(
    "description",
    [
        "tcp:80",
        "tcp:port=80",
        "tcp:0:interface=127.0.0.1:backlog=7",
        r"tcp:80:interface=\:\:1",
        "tcp6:80",
        "haproxy:tcp:80:interface=127.0.0.1",
    ],
)
def test_the_server_listens_on_a_valid_address(
    description: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any kind that Twisted knows."""
    harness = ServiceHarness(monkeypatch, Settings(listen=(description,)))
    harness.service.privilegedStartService()
    backlog = 7 if "backlog=7" in description else 1024  # with 50, Twisted's, clients would wait
    assert [port.waiting for port in harness.reactor.ports] == [backlog]


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        *((text, f"{text}:backlog=1024") for text in ("tcp:80", "tcp6:80", "tcp:80:127.0.0.1")),
        (r"tcp:80:interface=\:\:1", r"tcp:80:interface=\:\:1:backlog=1024"),
        *((text, text) for text in ("tcp:80:backlog=7", "tcp:80:127.0.0.1:7", "tcp6:80:7")),
        ("unix:/run/a.sock", "unix:/run/a.sock:backlog=1024"),
        ("unix:/run/a.sock:600", "unix:/run/a.sock:600:backlog=1024"),
        ("unix:/run/a.sock:600:7", "unix:/run/a.sock:600:7"),
        ("ssl:443:privateKey=/k.pem", "ssl:443:privateKey=/k.pem:backlog=1024"),
        ("ssl:443:/k.pem:/c.pem:::7", "ssl:443:/k.pem:/c.pem:::7"),
        ("tls:/certificates:443", "tls:/certificates:443:backlog=1024"),
        ("tls:/certificates:443:7", "tls:/certificates:443:7"),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
        ("haproxy:tcp:80", "haproxy:tcp:80:backlog=1024"),
        (r"haproxy:tcp:80:\:\:1:7", r"haproxy:tcp:80:\:\:1:7"),
        ("haproxy:unix:/run/a.sock", "haproxy:unix:/run/a.sock:backlog=1024"),
        ("onion:80", "onion:80"),
    ],
)
def test_an_address_keeps_the_backlog_that_it_sets(description: str, expected: str) -> None:
    """By name or by position; other kinds of addresses have no backlog."""
    assert with_backlog(description) == expected
