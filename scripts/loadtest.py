"""
`tensorferry loadtest`: apply a load to a server, and report its latencies and rates.

Imports only click until the command runs, so that --help is fast.
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
    "--rate",
    type=Positive(),
    help="Open loop: requests per second, sent whether or not the server keeps up.",
)
@click.option(
    "--clients",
    type=click.IntRange(1),
    help="Closed loop: clients that each wait for their answer.  [default: 32]",
)
@click.option("--duration", type=Duration(), help="How long requests are sent.  [default: 10s]")
@click.option(
    "--arrivals",
    default="poisson",
    show_default=True,
    metavar="poisson|constant|bursts|FILE",
    help="When the requests of an open loop are due; FILE has seconds, one per line.",
)
@click.option(
    "--speed", type=Positive(), default=1.0, show_default=True, help="Speed of the replay of FILE."
)
@click.option(
    "--image",
    type=click.Path(exists=True, path_type=Path),
    help="An image, or a folder of images, sent in turn.  [default: generated]",
)
@click.option(
    "--image-size",
    type=Size(),
    default="500x375",
    show_default=True,
    help="Size of generated images.",
)
@click.option("--form", type=Field(), help="Send the body as this field of a multipart form.")
@click.option("--body", type=READABLE, help="Any file to send instead of an image.")
@click.option(
    "--content-type", type=MediaType(), help="Type of --body.  [default: application/octet-stream]"
)
@click.option(
    "--header", "headers", type=Header(), multiple=True, help="An extra header; repeatable."
)
@click.option(
    "--connections", type=click.IntRange(1), help="The most connections.  [default: 1000]"
)
@click.option(
    "--timeout",
    type=Duration(),
    default="30s",
    show_default=True,
    help="A request without an answer after this time is an error.",
)
@click.option(
    "--warmup",
    type=Duration(zero=True),
    help="Time before the measurement.  [default: 0s; 1s with --find-slo and --compare]",
)
@click.option(
    "--slo",
    type=Duration(unit=True),
    default="500ms",
    show_default=True,
    help="The latency within which an answer is in time.",
)
@click.option(
    "--find-slo",
    type=Duration(unit=True),
    help="Find the highest rate at which 99 in 100 requests are answered in this time.",
)
@click.option(
    "--compare", nargs=2, metavar="URL URL", help="Measure two servers in turn, and report ratios."
)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds of --compare."
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Seed of arrivals and generated images.",
)
@click.option(
    "--json", "json_file", type=FILE, help="Write all figures to this file; - prints them."
)
@click.option("--png", "png_file", type=FILE, help="Write a plot to this file; needs matplotlib.")
def loadtest(**options: Any) -> None:  # Any: parsed by click, see `Options`
    """
    Send requests to the server at URL, and report its latencies, refusals and batches.

    Latency counts from when a request was due, so that a server that stalls cannot hide it.
    Refusals (408, 429, 503, 504) are counted separately from errors; a request without an answer
    counts as an infinite latency. The exit code is 1 if no request was answered.
    """
    from scripts.load.command import run  # noqa: PLC0415 - the reactor
    from scripts.load.options import Options, UsageProblem  # noqa: PLC0415 - numpy

    try:
        run(Options(**options))
    except UsageProblem as error:
        raise click.UsageError(str(error)) from error
