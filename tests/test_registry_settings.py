"""The options of the registry: server/registry/settings.py, its commands, and docs/registry.md."""

import sys
from ipaddress import ip_network
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from twisted.python import usage

from scripts.cli import main
from server.process.registry_tap import Options
from server.registry.settings import REGISTRY_OPTIONS, Place, RegistrySettings, read_settings

WRONG = {
    ("--listen", "12480"): "--listen: expected a Twisted server endpoint, such as tcp:12480",
    ("--seaport-listen", "no"): "--seaport-listen: expected none or a Twisted server endpoint",
    ("--dns-listen", "53"): "--dns-listen: expected none or HOST:PORT, such as 127.0.0.1:12482",
    ("--dns-listen", "a:65536"): "--dns-listen: expected none or HOST:PORT",
    ("--zone", "a..b"): "--zone: expected a domain name, such as tensorferry.internal, got 'a..b'",
    ("--zone", "-"): "--zone: expected a domain name",
    ("--zone", "a." * 55 + "b"): "--zone: expected a domain name",
    ("--engine", "registry://a"): "--engine: expected the URL of a source, such as zk://",
    ("--engine", "srv://a"): "--engine: expected the URL of a source",
    ("--engine", "srv://u:p@a/b"): (
        "--engine: expected the URL of a source, such as zk://localhost:2181/tensorferry, "
        "etcd://localhost:2379/tensorferry or srv://localhost:8600/web.service.consul, "
        "got 'srv://u:p@a/b': srv:// takes no user and password"
    ),
    ("--engine", "srv://a/b:x"): "--engine: expected the URL of a source",
    ("--engine", "srv://a/b:+5"): "--engine: expected the URL of a source",
    ("--engine", "srv://a/b:1_0"): "--engine: expected the URL of a source",
    ("--engine", "srv://a/b:65536"): "--engine: expected the URL of a source",
    ("--token-file", "none"): "--token-file: expected a readable file, got 'none': No such file",
    ("--trusted", "10.1.0.0/8"): "--trusted: expected a network or an address, such as 10.0.0.0/8",
    ("--log-format", "xml"): "--log-format: expected plain or json, got 'xml'",
}


def run(*arguments: str) -> Result:
    """Return the result of `tensorferry registry` with *arguments*."""
    return CliRunner().invoke(main, ["registry", *arguments])


@pytest.mark.parametrize(("arguments", "line"), WRONG.items(), ids=" ".join)
def test_a_wrong_value_is_an_error_of_one_line(
    arguments: tuple[str, str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """For the command, and for the plugin of twistd."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.output.startswith(f"Error: {line}")
    assert result.output.count("\n") == 1
    with pytest.raises(SystemExit) as end:
        Options().parseOptions(arguments)
    assert end.value.code == 1
    stderr = capsys.readouterr().err
    assert stderr.startswith(f"twistd tensorferry-registry: {line}")


def test_an_unknown_option_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With the closest one that there is."""
    assert "--zone" in run("--zones", "a").output
    with pytest.raises(SystemExit):
        Options().parseOptions(["--zones", "a"])
    assert capsys.readouterr().err.count("\n") == 1


def test_without_options_the_registry_listens_on_loopback_alone() -> None:
    """The plugin reads the same settings."""
    options = Options()
    options.parseOptions([])
    assert options.settings == read_settings({}) == RegistrySettings()
    assert options.settings.listen == ("tcp:12480:interface=127.0.0.1",)
    assert options.settings.seaport_listen == "tcp:12481:interface=127.0.0.1"
    assert options.settings.dns_listen == Place("127.0.0.1", 12482)


def test_options_may_be_repeated_and_none_turns_a_port_off() -> None:
    """Each of these has its value."""
    options = Options()
    options.parent = usage.Options()
    options.parseOptions(
        [
            *("--listen", "tcp:1", "--listen=tcp:2", "--seaport-listen", "none"),
            *("--dns-listen", "[::1]:53", "--zone", "Ferry.Example."),
            *("--engine", "zk://a/b?lease=3", "--engine", "srv://c:8600/web.service.consul"),
            *("--trusted", "10.0.0.0/8", "--trusted", "::1"),
        ]
    )
    assert options.settings == RegistrySettings(
        listen=("tcp:1", "tcp:2"),
        seaport_listen=None,
        dns_listen=Place("::1", 53),
        zone="ferry.example",
        engine=("zk://a/b?lease=3", "srv://c:8600/web.service.consul"),
        trusted=(ip_network("10.0.0.0/8"), ip_network("::1/128")),
    )


def test_the_help_pages_show_each_option_with_its_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Compared without whitespace; twistd's page is the same under its own name."""
    with pytest.raises(SystemExit) as end:
        Options().parseOptions(["--help"])
    assert end.value.code == 0
    for page in (run("--help").output, capsys.readouterr().out):
        for option in REGISTRY_OPTIONS:
            assert f"{option.spelling} {option.metavar}" in page
            squeezed = "".join(f"{option.meaning}[default:{option.default}]".split())
            assert squeezed in "".join(page.split())


def test_the_page_has_a_row_for_each_option() -> None:
    """With its meaning and default."""
    page = (Path(__file__).parents[1] / "docs" / "registry.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `--")]
    assert rows == [
        f"| `{it.spelling} {it.metavar}` | {it.default} | {it.meaning} |".replace(
            "none|", "none\\|"
        ).replace("plain|json", "plain\\|json")
        for it in REGISTRY_OPTIONS
    ]


def test_the_help_page_needs_neither_klein_nor_tensorflow() -> None:
    """In a process of its own, so that it is fast."""
    import subprocess

    code = (
        "import sys; from scripts.cli import main\n"
        "try: main(['registry', '--help'])\n"
        "except SystemExit: pass\n"
        "print([it for it in ('klein', 'numpy', 'tensorflow', 'twisted.internet.reactor')"
        " if it in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60
    )
    assert shown.stdout.splitlines()[-1] == "[]"
