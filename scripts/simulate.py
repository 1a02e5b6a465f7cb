"""
`tensorferry simulate`: predict latencies from the times of runs, without a server.

Imports only click until the command runs, so that --help is fast.
"""

from pathlib import Path
from typing import Any

import click

from scripts.load.units import Duration, Positive, Rate, Shares

#: The most requests: more take minutes.
MAX_REQUESTS = 2_000_000


@click.command()
@click.option(
    "--latency",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='File with the seconds of runs by rows, as JSON: {"1": 0.004, "8": 0.006}; the largest '
    "key is the largest batch.",
)
@click.option(
    "--profile",
    type=click.Choice(["gpu", "pad", "cpu"]),
    help="Built-in times of runs instead of a file.  [default: gpu]",
)
@click.option(
    "--arrivals",
    default="poisson",
    show_default=True,
    metavar="poisson|mmpp|closed|FILE",
    help="mmpp: bursts and lulls, 1.8 and 0.2 times the rate; closed: clients that wait for their "
    "answers; FILE: arrival times in seconds, one a line.",
)
@click.option(
    "--requests",
    type=click.IntRange(1, MAX_REQUESTS),
    help="Number of requests.  [default: 20000; all of FILE]",
)
@click.option(
    "--load",
    type=Positive(),
    help="Share of the best rate of all lanes.  [default: 0.7; the rate of FILE]",
)
@click.option("--rate", type=Rate(), help="Requests per second instead of a load: 300/s.")
@click.option("--loads", type=Shares(), help="Several loads, with a row for each: 0.3,0.5,0.9.")
@click.option("--clients", type=click.IntRange(1), help="Clients of a closed loop.  [default: 8]")
@click.option(
    "--think",
    type=Duration(zero=True),
    help="Time from an answer to the next request of a client.  [default: 0s]",
)
@click.option(
    "--lanes",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Number of concurrent runs.",
)
@click.option(
    "--slo",
    type=Duration(unit=True),
    help="Time allowed for an answer: the deadline of each request.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Seed of all random numbers.",
)
@click.option(
    "--noise",
    type=Positive(zero=True, most=2.0),
    default=0.05,
    show_default=True,
    help="Variation of run times: the sigma of lognormal noise.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    default=("auto",),
    show_default=True,
    metavar="auto|greedy|fixed:ROWS,SECONDS",
    help="auto: the server's own; greedy: launches at once, at most the batch with the best "
    "throughput; fixed: the largest batch, and the longest wait of the first request. Give "
    "several to compare them.",
)
@click.option(
    "--tune", is_flag=True, help="Also find the best fixed setting for the same workload."
)
@click.option("--json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for a plot of --loads; needs matplotlib.",
)
def simulate(**options: Any) -> None:  # Any: as parsed by click, see `Options`
    """
    Predict latencies and goodput of a model whose runs take the times in --latency.

    "What would my p99 be at 300/s?" takes a second: the server's own batcher runs on simulated
    time. With --slo, requests are refused and dropped as in the server. The first fifth of the
    requests is left out of all figures; latencies are those of answered requests.
    """
    from scripts.simulation.command import run  # noqa: PLC0415 - Twisted
    from scripts.simulation.options import Options  # noqa: PLC0415 - the same

    run(Options(**options))
