"""`tensorferry haproxy-config`: scripts/haproxy_config.py and scripts/haproxy_text.py."""

import pytest
from click.testing import CliRunner

from scripts.cli import main


def printed(*options: str) -> tuple[int, str]:
    """Return the exit code and the output of the command."""
    result = CliRunner().invoke(main, ["haproxy-config", *options])
    return result.exit_code, result.output


LINES = {
    (): [
        "nameserver registry1 tcp@127.0.0.1:12482",
        "accepted_payload_size 65535",
        "bind :8080",
        "timeout server 300s",
        "server-template worker 1-32 _tensorferry._tcp.tensorferry.internal",
        "retry-on conn-failure",
    ],
    ("--dns=192.0.2.1:53", "--dns=[2001:db8::1]:53"): [
        "nameserver registry1 tcp@192.0.2.1:53",
        "nameserver registry2 tcp@[2001:db8::1]:53",
    ],
    ("--workers-max=65",): [
        "server-template worker 1-65 _tensorferry._tcp.tensorferry.internal",
    ],
    ("--model=ResNet.v2", "--zone=tf.test"): [
        "server-template worker 1-32 _ResNet.v2._tensorferry._tcp.tf.test"
    ],
    ("--bind=127.0.0.1:80", "--timeout=7", "--stats-socket=/run/haproxy.sock"): [
        "bind 127.0.0.1:80",
        "timeout client 7s",
        "timeout server 7s",
        "stats socket /run/haproxy.sock mode 600 level operator",
    ],
}


@pytest.mark.parametrize(("options", "lines"), LINES.items(), ids=str)
def test_the_configuration_has_these_lines(options: tuple[str, ...], lines: list[str]) -> None:
    """Each once; HAProxy itself checks the whole text in tests/integration/test_haproxy.py."""
    code, text = printed(*options)
    found = [line.strip() for line in text.splitlines()]
    assert (code, [found.count(line) for line in lines]) == (0, [1] * len(lines))
    assert ("stats socket" in text) == (len(options) == 3)


WRONG = {
    "--dns=localhost:53": "expected an IP address and a port, got 'localhost:53'",
    "--dns=127.0.0.1": "expected an IP address and a port, got '127.0.0.1'",
    "--dns=127.0.0.1:99999": "expected an IP address and a port, got '127.0.0.1:99999'",
    "--dns=[::1%a b]:53": "expected an IP address and a port, got '[::1%a b]:53'",
    "--dns=::1:53": "expected an IP address and a port, got '::1:53'",
    "--zone=a b": "expected a domain name, got 'a b'",
    "--zone=a..b": "expected a domain name, got 'a..b'",
    "--model=a/b": "expected a name of letters, digits, '_', '-' and '.', got 'a/b'",
    "--bind=80": "expected [ADDRESS]:PORT, got '80'",
    "--bind=:80\n daemon": r"expected [ADDRESS]:PORT, got ':80\n daemon'",
    "--stats-socket=x": "expected an absolute path without spaces, got 'x'",
    "--workers-max=0": "0 is not in the range 1<=x<=500.",
    "--timeout=0": "0 is not in the range 1<=x<=86400.",
}


@pytest.mark.parametrize(("option", "problem"), WRONG.items(), ids=str)
def test_a_wrong_option_is_an_error_in_one_line(option: str, problem: str) -> None:
    """It never becomes a line of the configuration."""
    code, text = printed(option)
    name = option.partition("=")[0]
    assert (code, text) == (2, f"Error: Invalid value for '{name}': {problem}\n")
