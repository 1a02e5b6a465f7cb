"""Read what people write on the command line of a load test: durations, sizes, headers."""

import re
from typing import Any

import click

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(ms|s|m|h)?")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


class Duration(click.ParamType[float]):
    """``200ms``, ``10s`` or ``2m``; a bare number is seconds."""

    name = "DURATION"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(str(value).strip())
        seconds = float(found[1]) * _SECONDS[found[2]] if found else -1.0
        if seconds < 0 or (seconds == 0 and not self._zero):
            self.fail(f"expected a duration such as 200ms, 10s or 2m, got {value!r}", param, ctx)
        return seconds


class Size(click.ParamType[tuple[int, int]]):
    """``500x375``: the width and the height of a picture, in pixels."""

    name = "WIDTHxHEIGHT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return the two numbers."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", str(value))
        if found is None:
            self.fail(f"expected a size such as 500x375, got {value!r}", param, ctx)
        return int(found[1]), int(found[2])


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
        return found[1], found[2].rstrip()


def seconds_in_words(seconds: float) -> str:
    """Return *seconds* as people write them: 5 ms, 10 s."""
    return f"{seconds * 1e3:g} ms" if seconds < 1 else f"{seconds:g} s"
