"""Which addresses speak TLS: server/http/listen_addresses.py."""

import pytest

from server.http.listen_addresses import kind_of, scheme_of


@pytest.mark.parametrize(
    ("description", "kind", "plain", "certified"),
    [
        ("tcp:80", "tcp", "http", "https"),
        (r"tcp6:80:interface=\:\:1", "tcp6", "http", "https"),
        ("haproxy:tcp:80", "tcp", "http", "https"),
        ("haproxy:haproxy:unix:/a", "unix", "http", "http"),
        ("unix:/run/INET", "unix", "http", "http"),
        ("systemd:domain=INET6:index=0", "systemd", "http", "https"),
        ("systemd:INET:0", "systemd", "http", "https"),
        ("systemd:domain=UNIX:index=0", "systemd", "http", "http"),
        ("ssl:443:privateKey=a", "ssl", "https", "https"),
        ("tls:/a:443", "tls", "https", "https"),
    ],
)
def test_the_scheme_of_an_address(description: str, kind: str, plain: str, certified: str) -> None:
    """Without a certificate of the server, and with one."""
    assert kind_of(description) == kind
    assert scheme_of(description, has_certificate=False) == plain
    assert scheme_of(description, has_certificate=True) == certified
