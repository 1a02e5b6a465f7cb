"""
Parse the values of command line options: durations, rates, sizes, headers.

A value that goes into the head of a request or a form cannot contain a line end, and so cannot add
another header.
"""

import re
from math import isfinite
from typing import Any

import click

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(ms|s|m|h)?")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


#: The largest image that is generated, in pixels: the default limit of the server.
MAX_PIXELS = 50_000_000

#: Headers that determine where a request ends.
FRAMING_HEADERS = ("content-length", "transfer-encoding")

#: The longest side of a JPEG image.
MAX_SIDE_PIXELS = 65_500


class Duration(click.ParamType[float]):
    """
    ``200ms``, ``10s`` or ``2m``; a bare number is in seconds.

    With *unit*, a bare number is an error.
    """

    name = "DURATION"

    def __init__(self, *, zero: bool = False, unit: bool = False) -> None:
        self._zero = zero
        self._needs_unit = unit

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(str(value).strip())
        seconds = float(found[1]) * _SECONDS[found[2]] if found else -1.0
        if seconds < 0 or not isfinite(seconds) or (seconds == 0 and not self._zero):
            self.fail(
                f"expected a duration such as 200ms, 10s, 2m or 1h, got {value!r}", param, ctx
            )
        if self._needs_unit and found and found[2] is None:
            likely = seconds if seconds < 1 else seconds * 1e-3
            written = f"{likely * 1e3:g}ms or {likely:g}s"
            self.fail(f"{found[1]} has no unit: write {written}", param, ctx)
        return seconds


class Positive(click.FloatRange):
    """A finite number above 0, such as a rate; *zero* also admits 0, and *most* is the largest."""

    def __init__(self, *, zero: bool = False, most: float | None = None) -> None:
        super().__init__(min=0, max=most, min_open=not zero)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        number: float = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"expected a finite number, got {value!r}", param, ctx)
        return number


class Rate(Positive):
    """``300/s``, or a number without unit: requests a second."""

    name = "RATE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the rate per second."""
        return super().convert(str(value).strip().removesuffix("/s"), param, ctx)


class Shares(click.ParamType[tuple[float, ...]]):
    """``0.3,0.5,0.9``: finite numbers above 0, separated by commas."""

    name = "LOAD,LOAD..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        each = Positive()
        return tuple(each.convert(text, param, ctx) for text in str(value).split(","))


class Size(click.ParamType[tuple[int, int]]):
    """``500x375``: the width and the height of an image, in pixels."""

    name = "WIDTHxHEIGHT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return the width and the height."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", str(value))
        if found is None:
            self.fail(f"expected a size such as 500x375, got {value!r}", param, ctx)
        width, height = int(found[1]), int(found[2])
        if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE_PIXELS:
            self.fail(
                f"expected at most {MAX_SIDE_PIXELS:,} pixels a side and {MAX_PIXELS:,} in all, "
                f"got {value!r}",
                param,
                ctx,
            )
        return width, height


class Header(click.ParamType[tuple[str, str]]):
    """``Name: value``."""

    name = "'NAME: VALUE'"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return the name and the value."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([ -~\t]*)", str(value))
        if found is None:
            self.fail(f"expected a header such as 'Name: value', got {value!r}", param, ctx)
        if found[1].lower() in FRAMING_HEADERS:
            self.fail(f"{found[1]} follows from the body, and cannot be set", param, ctx)
        return found[1], found[2].rstrip()


class _Text(click.ParamType[str]):
    """Text that *pattern* matches; *expected* describes it in the error message."""

    pattern: str
    expected: str

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text."""
        if re.fullmatch(self.pattern, str(value)) is None:
            self.fail(f"expected {self.expected}, got {value!r}", param, ctx)
        return str(value)


class MediaType(_Text):
    """``image/png``: the value of a Content-Type header."""

    name = "TYPE"
    pattern = "[!-~][ -~]*"
    expected = "a type such as image/png"


class Field(_Text):
    """``data``: the name of a form field, which is written in quotes."""

    name = "FIELD"
    pattern = r'[^"\\\x00-\x1f\x7f]+'
    expected = "the name of a field such as data"


def seconds_in_words(seconds: float) -> str:
    """Return *seconds* as text with a unit: ``5 ms``, ``10 s``."""
    return f"{seconds * 1e3:g} ms" if seconds < 1 else f"{seconds:g} s"
