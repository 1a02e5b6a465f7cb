"""
Load a server with wrk in a closed loop: each client waits for its answer.

A load test in Python takes as much CPU as the server, and would limit a closed loop on the same few
cores.  Debian's package `wrk` contains the program.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import click

#: The request, and the line with the figures; wrk counts microseconds.
_SCRIPT = """
wrk.method = "{method}"
wrk.body = string.rep("x", {size})
wrk.headers["Content-Type"] = "application/octet-stream"
{headers}

function done(summary, latency, requests)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('\\n{{"answered": %d, "refused": %d, "broken": %d, "seconds": %.6f,'
    .. ' "mean_ms": %.4f, "p99_ms": %.4f}}\\n',
    summary.requests, errors.status, broken, summary.duration / 1e6,
    latency.mean / 1e3, latency:percentile(99) / 1e3))
end
"""

#: Seconds that wrk may take to start and end, besides those of the load.
SPARE = 10.0


@dataclass(frozen=True, slots=True)
class Closed:
    """The figures of a closed loop."""

    answered: int
    refused: int  #: answers with a status of 400 or more
    broken: int  #: requests without an answer
    seconds: float
    mean_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """The answers per second that have a status below 400."""
        return (self.answered - self.refused) / self.seconds


def closed_loop(
    url: str,
    clients: int,
    seconds: float,
    size: int,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
) -> Closed:
    """
    Load *url* with *clients* that post bodies of *size* bytes, and return the figures; blocks.

    With another *method*, they send requests of that.

    *seconds* are rounded up to a whole number, which wrk requires.  Raises `click.ClickException`
    if wrk is not installed or fails.
    """
    lasting = max(1, ceil(seconds))
    more = (f'wrk.headers["{name}"] = "{value}"' for name, value in (headers or {}).items())
    with TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(_SCRIPT.format(method=method, size=size, headers="\n".join(more)))
        command = ["wrk", "-t1", f"-c{clients}", f"-d{lasting}s", "-s", str(script), url]
        try:
            done = subprocess.run(  # noqa: S603 - ours
                command, capture_output=True, text=True, timeout=lasting + SPARE, check=True
            )
        except FileNotFoundError as error:
            raise click.ClickException("wrk is not installed: apt-get install wrk") from error
        except subprocess.SubprocessError as error:
            stderr = getattr(error, "stderr", None) or ""
            raise click.ClickException(f"wrk failed: {error} {stderr}".strip()) from error
    return read_closed(done.stdout)


def read_closed(output: str) -> Closed:
    """Return the figures in the last line of wrk's *output*; raises `click.ClickException`."""
    try:
        return Closed(**json.loads(output.strip().splitlines()[-1]))
    except (IndexError, TypeError, ValueError) as error:
        raise click.ClickException(f"wrk printed no figures: {output}") from error
