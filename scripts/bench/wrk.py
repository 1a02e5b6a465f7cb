"""
Load a server with wrk: clients that each wait for their answer.

A client in Python takes as much of the machine as the server does, and on the same few cores that
is what a closed loop then shows.  The program comes with Debian's package of its name.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

#: What is sent, and how the figures are written; microseconds come in.
_SCRIPT = """
wrk.method = "POST"
wrk.body = string.rep("x", {size})
wrk.headers["Content-Type"] = "application/octet-stream"

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '\\n{{"answered": %d, "seconds": %.6f, "mean_ms": %.4f, "p99_ms": %.4f, "failed": %d}}\\n',
    summary.requests, summary.duration / 1e6, latency.mean / 1e3,
    latency:percentile(99) / 1e3, failed))
end
"""

#: Seconds beyond those of the load that it may take to start and to end.
SPARE = 10.0


@dataclass(frozen=True, slots=True)
class Closed:
    """What clients saw who each waited for their answer."""

    answered: int
    seconds: float
    mean_ms: float
    p99_ms: float
    failed: int  #: no answers, or others than of 200

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return max(0, self.answered - self.failed) / self.seconds


def closed_loop(url: str, clients: int, seconds: float, size: int) -> Closed:
    """
    Return what *clients* see who post bodies of *size* bytes to *url*; blocks for *seconds*.

    Raises `click.ClickException` where wrk is not installed, or fails.
    """
    # Whole seconds alone are understood.
    lasting = max(1, round(seconds))
    with TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(_SCRIPT.format(size=size))
        command = ["wrk", "-t1", f"-c{clients}", f"-d{lasting}s", "-s", str(script), url]
        try:
            done = subprocess.run(  # noqa: S603 - ours
                command, capture_output=True, text=True, timeout=lasting + SPARE, check=True
            )
        except FileNotFoundError as error:
            raise click.ClickException("wrk loads the server: apt-get install wrk") from error
        except subprocess.SubprocessError as error:
            raise click.ClickException(f"wrk failed: {error}") from error
    return read_closed(done.stdout)


def read_closed(told: str) -> Closed:
    """Return the figures at the end of what wrk *told*."""
    figures: dict[str, Any] = json.loads(told.strip().splitlines()[-1])
    return Closed(**figures)
