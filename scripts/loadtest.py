"""
`tensorferry loadtest`: put a load on a server, and say what it can take.

Imports only click until the command runs, so that help is instant.
"""

from pathlib import Path
from typing import Any

import click

from scripts.load.units import Duration, Field, Header, MediaType, Positive, Size

FILE = click.Path(dir_okay=False, path_type=Path)
READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("url", required=False)
@click.option(
    "--rate", type=Positive(), help="Open loop: so many requests a second, come what may."
)
@click.option(
    "--clients",
    type=click.IntRange(1),
    help="Closed loop: each waits for its answer.  [default: 32]",
)
@click.option("--duration", type=Duration(), help="How long requests are sent.  [default: 10s]")
@click.option(
    "--arrivals",
    default="poisson",
    show_default=True,
    metavar="poisson|constant|bursts|FILE",
    help="When the requests of an open loop are due; FILE has seconds, one a line.",
)
@click.option(
    "--speed", type=Positive(), default=1.0, show_default=True, help="How fast FILE is replayed."
)
@click.option(
    "--image",
    type=click.Path(exists=True, path_type=Path),
    help="An image, or a folder of them, sent in turn.  [default: made on the fly]",
)
@click.option(
    "--image-size", type=Size(), default="500x375", show_default=True, help="Of those made."
)
@click.option("--form", type=Field(), help="Send what is sent as this file of a form.")
@click.option("--body", type=READABLE, help="Any file to send instead of an image.")
@click.option(
    "--content-type", type=MediaType(), help="What it is.  [default: application/octet-stream]"
)
@click.option("--header", "headers", type=Header(), multiple=True, help="Repeatable.")
@click.option("--connections", type=click.IntRange(1), help="At most.  [default: 1000]")
@click.option(
    "--timeout", type=Duration(), default="30s", show_default=True, help="Then it is an error."
)
@click.option(
    "--warmup",
    type=Duration(zero=True),
    help="Left out of all figures.  [default: 0s; 1s with --find-slo and --compare]",
)
@click.option(
    "--slo", type=Duration(unit=True), default="500ms", show_default=True, help="Answers in time."
)
@click.option(
    "--find-slo", type=Duration(unit=True), help="Find the highest rate whose p99 keeps this."
)
@click.option("--compare", nargs=2, metavar="URL URL", help="Two servers, in turn; ratios.")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Of --compare."
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all that is random."
)
@click.option("--json", "json_file", type=FILE, help="All figures; - prints.")
@click.option("--png", "png_file", type=FILE, help="A plot; needs matplotlib.")
def loadtest(**options: Any) -> None:  # Any: as click has parsed them, see `Options`
    """
    Load the server at URL with requests, and tell its latencies, refusals and batches.

    Latency counts from when a request was due, so that a server that stalls cannot hide it. A
    refusal (408, 429, 503, 504) and an error are told apart; a request without an answer counts as
    endless.  The exit code is 1 where nothing was answered.
    """
    from scripts.load.command import run  # noqa: PLC0415 - the reactor
    from scripts.load.options import Options, UsageProblem  # noqa: PLC0415 - numpy

    try:
        run(Options(**options))
    except UsageProblem as error:
        raise click.UsageError(str(error)) from error
