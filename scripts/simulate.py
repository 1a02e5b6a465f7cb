"""
`tensorferry simulate`: foretell latencies from how long runs take, without a server.

Imports only click until the command runs, so that help is instant.
"""

from pathlib import Path
from typing import Any

import click

from scripts.load.units import Duration, Positive, Rate, Shares

#: More requests than these take minutes.
MOST_REQUESTS = 2_000_000


@click.command()
@click.option(
    "--latency",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='How long runs take: JSON, seconds by rows, {"1": 0.004, "8": 0.006}; the most rows '
    "are the largest batch.",
)
@click.option(
    "--profile",
    type=click.Choice(["gpu", "pad", "cpu"]),
    help="Or one that is built in.  [default: gpu]",
)
@click.option(
    "--arrivals",
    default="poisson",
    show_default=True,
    metavar="poisson|mmpp|closed|FILE",
    help="mmpp: bursts and lulls, 1.8 and 0.2 times the rate; closed: clients who wait for their "
    "answers; FILE has seconds, one a line.",
)
@click.option(
    "--requests",
    type=click.IntRange(1, MOST_REQUESTS),
    help="How many.  [default: 20000; all of FILE]",
)
@click.option(
    "--load",
    type=Positive(),
    help="Share of the most rows a second that the lanes can do.  [default: 0.7; as FILE has it]",
)
@click.option("--rate", type=Rate(), help="Or requests a second: 300/s.")
@click.option("--loads", type=Shares(), help="Or several shares, a row for each: 0.3,0.5,0.9.")
@click.option("--clients", type=click.IntRange(1), help="Of a closed loop.  [default: 8]")
@click.option(
    "--think",
    type=Duration(zero=True),
    help="What they pause between an answer and the next request.  [default: 0s]",
)
@click.option(
    "--lanes",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Runs that go on side by side.",
)
@click.option(
    "--slo", type=Duration(unit=True), help="Answers in time: the deadline of each request."
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all that is random."
)
@click.option(
    "--noise",
    type=Positive(zero=True, most=2.0),
    default=0.05,
    show_default=True,
    help="How much runs scatter: the sigma of lognormal noise.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    default=("auto",),
    show_default=True,
    metavar="auto|greedy|fixed:ROWS,SECONDS",
    help="auto: the server's own; greedy: at once, with the best batch for throughput at most; "
    "fixed: a largest batch and how long the first one waits. Give several to compare them.",
)
@click.option("--tune", is_flag=True, help="Also find the best fixed setting for the same load.")
@click.option("--json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A plot of --loads; needs matplotlib.",
)
def simulate(**options: Any) -> None:  # Any: as click has parsed them, see `Options`
    """
    Foretell latencies and goodput of a model whose runs take as long as --latency says.

    "What would my p99 be at 300/s?" takes a second, for the server's own batcher runs on simulated
    time.  Where --slo is given, requests are refused and dropped as in the server. The first
    fifth of the requests is left out of all figures; latencies are those of the answers.
    """
    from scripts.simulation.command import run  # noqa: PLC0415 - Twisted
    from scripts.simulation.options import Options  # noqa: PLC0415 - the same

    run(Options(**options))
