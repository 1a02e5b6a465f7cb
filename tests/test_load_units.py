"""The values of command line options: scripts/load/units.py."""

from typing import Any

import click
import pytest
from click.testing import CliRunner

from scripts.load.units import (
    Duration,
    Field,
    Header,
    MediaType,
    Positive,
    Size,
    seconds_in_words,
)
from scripts.loadtest import loadtest
from scripts.simulate import simulate


def read(kind: click.ParamType[Any], text: object) -> object:
    """Return what *text* means."""
    return kind.convert(text, None, None)


def refused(kind: click.ParamType[Any], text: object) -> str:
    """Return why *text* means nothing."""
    with pytest.raises(click.BadParameter) as caught:
        read(kind, text)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("200ms", 0.2),
        ("10s", 10.0),
        ("2m", 120.0),
        ("1.5h", 5400.0),
        ("3", 3.0),
        (".5", 0.5),
        ("5.", 5.0),
        (" 10 s ", 10.0),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_seconds(text: object, seconds: float) -> None:
    """With a unit or without."""
    assert read(Duration(), text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "ten", "-1s", "1 s 2", "1d", "nan", "inf", "1e3", "0", "0ms", "9" * 400, "."]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With a word on what would be."""
    expected = f"expected a duration such as 200ms, 10s, 2m or 1h, got {text!r}"
    assert refused(Duration(), text) == expected


def test_no_time_at_all_is_a_duration_where_it_makes_sense() -> None:
    """As for a warm-up."""
    assert read(Duration(zero=True), "0s") == 0.0
    assert "expected a duration" in refused(Duration(zero=True), "-1s")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("200", "200 has no unit: write 200ms or 0.2s"),
        (" 50. ", "50. has no unit: write 50ms or 0.05s"),
        ("0.2", "0.2 has no unit: write 200ms or 0.2s"),
        ("0", "expected a duration such as 200ms, 10s, 2m or 1h, got '0'"),
    ],
)
def test_where_milliseconds_are_usual_a_unit_is_needed(text: str, message: str) -> None:
    """A bare number would be read as seconds, and meant as milliseconds."""
    assert refused(Duration(unit=True), text) == message
    assert read(Duration(unit=True), "200ms") == 0.2


@pytest.mark.parametrize(
    ("command", "option"), [(loadtest, "--slo"), (loadtest, "--find-slo"), (simulate, "--slo")]
)
def test_an_slo_has_a_unit(command: click.Command, option: str) -> None:
    """In one line."""
    result = CliRunner().invoke(command, ["127.0.0.1:1", option, "200"])
    assert result.exit_code == 2
    line = f"Error: Invalid value for '{option}': 200 has no unit: write 200ms or 0.2s\n"
    assert result.output.endswith(line)


def test_durations_are_written_with_a_unit() -> None:
    """In milliseconds below one second."""
    words = [seconds_in_words(each) for each in (0.0005, 0.005, 0.2, 1.0, 10.0, 90.5)]
    assert words == ["0.5 ms", "5 ms", "200 ms", "1 s", "10 s", "90.5 s"]


@pytest.mark.parametrize("text", ["0.5", "100", "1e3"])
def test_a_rate_is_a_positive_number(text: str) -> None:
    """Of requests a second."""
    assert read(Positive(), text) == float(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e999", "many"])
def test_a_rate_without_a_next_request_is_refused(text: str) -> None:
    """Or a load would never begin, or never end."""
    assert refused(Positive(), text)


def test_a_size_is_a_width_and_a_height() -> None:
    """In pixels."""
    assert read(Size(), "500x375") == (500, 375)
    assert read(Size(), (1, 2)) == (1, 2)


def test_an_image_that_no_server_takes_by_default_is_not_made() -> None:
    """It would take gigabytes here."""
    assert read(Size(), "10000x5000") == (10000, 5000)
    assert "65,500 pixels a side" in refused(Size(), "70000x2")
    assert (
        refused(Size(), "10000x5001")
        == "expected at most 65,500 pixels a side and 50,000,000 in all, got '10000x5001'"
    )


@pytest.mark.parametrize("text", ["", "500", "0x10", "10x0", "-1x5", "1x2x3", "500X375", "1e3x1"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """With a word on what would be."""
    assert refused(Size(), text) == f"expected a size such as 500x375, got {text!r}"


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("X-A: b", ("X-A", "b")),
        ("X-A:b", ("X-A", "b")),
        ("Authorization:   Bearer a:b  ", ("Authorization", "Bearer a:b")),
        ("X-Empty:", ("X-Empty", "")),
    ],
)
def test_a_header_is_a_name_and_a_value(text: str, header: tuple[str, str]) -> None:
    """Without the space around the value."""
    assert read(Header(), text) == header
    assert read(Header(), header) == header


@pytest.mark.parametrize("name", ["Content-Length", "content-length", "Transfer-Encoding"])
def test_headers_that_frame_a_request_are_refused(name: str) -> None:
    """Otherwise the server could take the body for the next request."""
    assert refused(Header(), f"{name}: 5").startswith(
        f"{name} follows from the body, and cannot be set"
    )


#: What would end a header and begin another one.
INJECTIONS = ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\n", "a\0", "\N{SNOWMAN}", "\xe9"]


@pytest.mark.parametrize(
    "text",
    ["", "X-A", ": b", "X A: b", "X-\xc4: b", "X\r\n: b", *(f"X-A: {bad}" for bad in INJECTIONS)],
)
def test_what_is_no_header_is_refused(text: str) -> None:
    """No header contains another one."""
    assert refused(Header(), text) == f"expected a header such as 'Name: value', got {text!r}"


@pytest.mark.parametrize("text", ["image/png", "text/plain; charset=utf-8"])
def test_a_content_type_is_taken_as_it_is(text: str) -> None:
    """With its parameters."""
    assert read(MediaType(), text) == text


@pytest.mark.parametrize("text", ["", " ", *INJECTIONS])
def test_what_cannot_be_a_content_type_is_refused(text: str) -> None:
    """It is a header's value."""
    assert refused(MediaType(), text) == f"expected a type such as image/png, got {text!r}"


@pytest.mark.parametrize("text", ["data", "my file", "b\u00fccher"])
def test_a_field_has_any_name_that_can_stand_in_quotes(text: str) -> None:
    """As it is."""
    assert read(Field(), text) == text


@pytest.mark.parametrize("text", ["", 'a"; x="', "a\\", "a\r\nX: y", "a\n", "a\0", "a\x7f"])
def test_a_field_that_would_end_its_quotes_is_refused(text: str) -> None:
    """A form has one file under one name."""
    assert refused(Field(), text) == f"expected the name of a field such as data, got {text!r}"
