"""
Load a server with wrk: clients that each wait for their answer.

A client in Python takes as much of the machine as the server does, and on the same few cores that
is what a closed loop then shows.  The program comes with Debian's package of its name.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import click

#: What is sent, and how the figures are written; microseconds come in.
_SCRIPT = """
wrk.method = "POST"
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

#: Seconds beyond those of the load that it may take to start and to end.
SPARE = 10.0


@dataclass(frozen=True, slots=True)
class Closed:
    """What clients saw who each waited for their answer."""

    answered: int
    refused: int  #: of those answers, with a status of 400 or more
    broken: int  #: requests without an answer
    seconds: float
    mean_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return (self.answered - self.refused) / self.seconds


def closed_loop(
    url: str, clients: int, seconds: float, size: int, headers: Mapping[str, str] | None = None
) -> Closed:
    """
    Return what *clients* see who post bodies of *size* bytes to *url*; blocks meanwhile.

    *seconds* count as whole ones, at least 1: wrk knows no others.  Raises `click.ClickException`
    where wrk is not installed, or fails.
    """
    lasting = max(1, ceil(seconds))
    more = (f'wrk.headers["{name}"] = "{value}"' for name, value in (headers or {}).items())
    with TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(_SCRIPT.format(size=size, headers="\n".join(more)))
        command = ["wrk", "-t1", f"-c{clients}", f"-d{lasting}s", "-s", str(script), url]
        try:
            done = subprocess.run(  # noqa: S603 - ours
                command, capture_output=True, text=True, timeout=lasting + SPARE, check=True
            )
        except FileNotFoundError as error:
            raise click.ClickException("wrk loads the server: apt-get install wrk") from error
        except subprocess.SubprocessError as error:
            told = getattr(error, "stderr", None) or ""
            raise click.ClickException(f"wrk failed: {error} {told}".strip()) from error
    return read_closed(done.stdout)


def read_closed(told: str) -> Closed:
    """Return the figures at the end of what wrk *told*; raises `click.ClickException`."""
    try:
        return Closed(**json.loads(told.strip().splitlines()[-1]))
    except (IndexError, TypeError, ValueError) as error:
        raise click.ClickException(f"wrk told no figures: {told}") from error
