"""The command line of the load test, and the values of its options: scripts/load/units.py."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from scripts.cli import main
from scripts.load.units import (
    Duration,
    Field,
    Header,
    MediaType,
    Positive,
    Size,
    seconds_in_words,
)

DURATION, UNIT, ZERO = Duration(), Duration(unit=True), Duration(zero=True)
BEARER = "Authorization:   Bearer a:b  "


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (DURATION, "200ms", 0.2), (DURATION, "10s", 10.0), (DURATION, "2m", 120.0),
        (DURATION, "1.5h", 5400.0), (DURATION, "3", 3.0), (DURATION, ".5", 0.5),
        (DURATION, "5.", 5.0), (DURATION, " 10 s ", 10.0), (DURATION, 0.25, 0.25),
        (ZERO, "0s", 0.0), (UNIT, "200ms", 0.2),
        (Positive(), "0.5", 0.5), (Positive(), "100", 100.0), (Positive(), "1e3", 1000.0),
        (Size(), "500x375", (500, 375)), (Size(), (1, 2), (1, 2)),
        (Size(), "10000x5000", (10000, 5000)),
        (Header(), "X-A: b", ("X-A", "b")), (Header(), "X-A:b", ("X-A", "b")),
        (Header(), BEARER, ("Authorization", "Bearer a:b")), (Header(), "X-E:", ("X-E", "")),
        (Header(), ("X-A", "b"), ("X-A", "b")),
        *((MediaType(), text, text) for text in ("image/png", "text/plain; charset=utf-8")),
        *((Field(), text, text) for text in ("data", "my file", "b\u00fccher")),
    ],
)  # fmt: skip
def test_a_value_is_read(kind: click.ParamType[Any], text: object, value: object) -> None:
    """In the forms that users write; a value that was read stays."""
    assert kind.convert(text, None, None) == value


#: What would end a header and begin another one.
INJECTIONS = ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\n", "a\0", "\N{SNOWMAN}", "\xe9"]
NO_DURATION = ["", "s", "ten", "-1s", "1 s 2", "1d", "nan", "inf", "1e3", "0", "0ms", "9" * 400]
NO_SIZE = ["", "500", "0x10", "10x0", "-1x5", "1x2x3", "500X375", "1e3x1"]
NO_HEADER = ["", "X-A", ": b", "X A: b", "X-\xc4: b", "X\r\n: b"]
NO_FIELD = ["", 'a"; x="', "a\\", "a\r\nX: y", "a\n", "a\0", "a\x7f"]
A_DURATION = "expected a duration such as 200ms, 10s, 2m or 1h, got {!r}"
FRAMING = "{} follows from the body, and cannot be set"
LARGE = "expected at most 65,500 pixels a side and 50,000,000 in all, got {!r}"


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        *((DURATION, text, A_DURATION) for text in (*NO_DURATION, ".")),
        (ZERO, "-1s", A_DURATION),
        (UNIT, "200", "{} has no unit: write 200ms or 0.2s"),
        (UNIT, " 50. ", "50. has no unit: write 50ms or 0.05s"),
        (UNIT, "0.2", "{} has no unit: write 200ms or 0.2s"),
        (UNIT, "0", A_DURATION),
        *((Positive(), text, "") for text in ("0", "-1", "nan", "inf", "1e999", "many")),
        *((Size(), text, LARGE) for text in ("70000x2", "10000x5001")),
        *((Size(), text, "expected a size such as 500x375, got {!r}") for text in NO_SIZE),
        *((Header(), f"{name}: 5", FRAMING.format(name))
          for name in ("Content-Length", "content-length", "Transfer-Encoding")),
        *((Header(), text, "expected a header such as 'Name: value', got {!r}")
          for text in (*NO_HEADER, *(f"X-A: {bad}" for bad in INJECTIONS))),
        *((MediaType(), text, "expected a type such as image/png, got {!r}")
          for text in ("", " ", *INJECTIONS)),
        *((Field(), text, "expected the name of a field such as data, got {!r}")
          for text in NO_FIELD),
    ],
)  # fmt: skip
def test_another_value_is_refused(kind: click.ParamType[Any], text: str, message: str) -> None:
    """With what would be accepted; no header contains another one, and no field ends its quotes."""
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(text, None, None)
    assert caught.value.message.startswith(message.format(text))
    assert caught.value.message


def test_durations_are_written_with_a_unit() -> None:
    """In milliseconds below one second."""
    words = [seconds_in_words(each) for each in (0.0005, 0.005, 0.2, 1.0, 10.0, 90.5)]
    assert words == ["0.5 ms", "5 ms", "200 ms", "1 s", "10 s", "90.5 s"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "give a URL, or --compare with two"),
        (["a", "--compare", "b", "c"], "give a URL, or --compare with two"),
        (["a", "--rate", "5", "--clients", "2"], "--rate is an open loop, --clients a closed one"),
        (["a", "--arrivals", "none"], "--arrivals: neither poisson, constant, bursts nor"),
        (["ftp://a"], "expected an http or https URL, got 'ftp://a'"),
        (["a", "--rate", "inf"], "Invalid value for '--rate': expected a finite number"),
        (["a", "--rate", "0"], "Invalid value for '--rate': "),
        (["a", "--speed", "inf"], "Invalid value for '--speed': "),
        (["a", "--duration", "0s"], "Invalid value for '--duration': expected a duration"),
        (["a", "--header", "X: 1\r\nY: 2"], "Invalid value for '--header': expected a header"),
        (["a", "--form", 'x"; y="z'], "Invalid value for '--form': expected the name of a field"),
        (["a", "--content-type", "a\r\nX: 1"], "Invalid value for '--content-type': expected"),
        (["a", "--image-size", "0x0"], "Invalid value for '--image-size': expected a size"),
        (["a", "--image", "none"], "Invalid value for '--image': "),
        (["a", "--json", "."], "Invalid value for '--json': "),
        *((["a", option, "200"], f"Invalid value for '{option}': 200 has no unit: write 200ms or")
          for option in ("--slo", "--find-slo")),
    ],
)  # fmt: skip
def test_a_wrong_option_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], problem: str
) -> None:
    """With the exit code 2, before anything is sent."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["loadtest", *arguments])
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith(f"Error: {problem}")


def test_help_explains_the_command() -> None:
    """With exit code 0; an SLO of a simulation has a unit, too."""
    shown = CliRunner().invoke(main, ["loadtest", "--help"])
    assert shown.exit_code == 0
    assert "Latency counts from when a request was due" in shown.output
    simulated = CliRunner().invoke(main, ["simulate", "--slo", "200"])
    assert (simulated.exit_code, "200 has no unit" in simulated.output) == (2, True)
