"""
`python -m benchmarks.swaps`: swap versions of a model under an open load, and count what fails.

A server of a repository is loaded at a share of the capacity that it has in the same run: first
undisturbed, then while the steps of benchmarks/swap_steps.py change the repository.  Every answer
must be of status 200, in time, and from a version that was served between its request and itself.
The load counts each request from when it was due.
"""

import random
import shutil
from collections.abc import Awaitable, Callable
from itertools import cycle
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import LoopingCall, deferLater, react

from benchmarks.kept import json_option, stamped, write
from benchmarks.repositories import NAME, make_models
from benchmarks.saved_mlp import BODY
from benchmarks.served import SETTLING, serving_models
from benchmarks.sleeping_runs import granting
from benchmarks.swap_answers import Answers, Expected, WholeConnection
from benchmarks.swap_steps import LABEL, Step, Steps, all_versions
from benchmarks.tables import table
from scripts.load.arrivals import poisson
from scripts.load.drivers import OpenLoopDriver
from scripts.load.measure import TICK_SECONDS, ClosedLoop, LoadSettings, Measurement, Server
from scripts.load.payloads import Payload
from scripts.load.pool import ConnectionPool
from scripts.load.precise_timer import PreciseTimer
from scripts.load.summary import percentile
from scripts.load.target import parse_url
from server.clock import MonotonicTime
from server.process.collector import freeze_startup_objects

CLIENTS = 32  #: of the closed loop that measures the capacity
CONNECTIONS, TIMEOUT = 500, 30.0  #: the most connections; seconds until a request is given up
AROUND = 5.0  #: seconds before a load begins and after it ends that are not outside it

#: The most that p99 may be, relative to the undisturbed phase: of all answers, of those outside.
BARS = {"disturbed": 2.0, "outside": 1.2}

#: The part of the requests that ask for the label: one in so many.
LABELLED = 4


class Bench:
    """One server of a repository and its load, in one round."""

    def __init__(self, reactor: Any, url: str, deadline: float) -> None:
        """*deadline* is in seconds; each request is sent with it."""
        self._reactor = reactor
        self._deadline = deadline
        self.clock = MonotonicTime(reactor)
        self.expected = {
            self._request(f"{url}models/{NAME}"): Expected(),
            self._request(f"{url}models/{NAME}/labels/{LABEL}"): Expected(),
        }
        self._endpoint = parse_url(url).endpoint(reactor, TIMEOUT)

    def _request(self, url: str) -> bytes:
        payload = Payload(BODY.encode(), "application/json")
        return parse_url(url).request(payload, granting(self._deadline))

    async def capacity(self, seconds: float) -> float:
        """Return the answers per second to a closed loop of `CLIENTS` clients."""
        server = Server("", self._endpoint, [next(iter(self.expected))])
        terms = LoadSettings(SETTLING, CONNECTIONS, TIMEOUT, self._deadline, seed=0)
        load = ClosedLoop(CLIENTS, seconds)
        outcome = await Measurement(self._reactor, server, load, terms, lambda _: None).run()
        return outcome.summary.rate

    async def loaded(
        self, rate: float, seed: int, during: Callable[[], Awaitable[object]]
    ) -> Answers:
        """Send *rate* requests a second until *during* has returned; return the answers."""
        pool = ConnectionPool(
            self._endpoint,
            limit=CONNECTIONS,
            timeout=TIMEOUT,
            seconds=self.clock.seconds,
            connection=WholeConnection,
        )
        default, labelled = self.expected
        answers = Answers(self.clock.seconds(), self.expected, self._deadline)
        timer = PreciseTimer(self._reactor)
        driver = OpenLoopDriver(
            self.clock,
            pool,
            cycle([default] * (LABELLED - 1) + [labelled]),
            answers,
            arrivals=poisson(rate, inf, random.Random(seed)),  # noqa: S311 - no secret
            timer=timer,
        )
        ticking = LoopingCall(pool.expire)
        ticking.clock = self.clock
        ticking.start(TICK_SECONDS).addErrback(driver.fail)
        try:
            await during()
            driver.stop()
            await driver.done
        finally:
            driver.give_up()
            ticking.stop()
            timer.close()
            pool.close()
        return answers


def is_outside(due: np.ndarray, steps: list[Step]) -> np.ndarray:
    """Return which of the times *due* are further than `AROUND` seconds from each of *steps*."""
    outside = np.ones(len(due), bool)
    for step in steps:
        outside &= (due < step.began - AROUND) | (due > step.ended + AROUND)
    return outside


def figures(phase: str, answers: Answers, outside: list[Step] | None = None) -> dict[str, Any]:
    """Return the figures of *answers*; of those outside the steps *outside*, if given."""
    kept = is_outside(np.frombuffer(answers.intended), outside or [])
    ordered = np.sort(np.frombuffer(answers.latencies)[kept])
    counts = {
        "requests": answers.sent,
        "failed": answers.failed,
        "late": answers.late,
        "wrong": answers.wrong,
        "statuses": {str(status): count for status, count in sorted(answers.statuses.items())},
        "errors": dict(answers.errors),
        "examples": [*answers.examples.values(), *answers.wrong_examples],
        "send_lag_p99_ms": percentile(np.sort(np.frombuffer(answers.lags)), 99.0),
    }
    return {
        "phase": phase,
        "answers": len(ordered),
        **(counts if outside is None else {}),
        "p50_ms": percentile(ordered, 50.0),
        "p99_ms": percentile(ordered, 99.0),
        "max_ms": percentile(ordered, 100.0),
    }


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to *rows* the p99 relative to that of the first row, and whether its bar holds."""
    base = rows[0]["p99_ms"]
    for row in rows[1:]:
        ratio = None if not base or row["p99_ms"] is None else row["p99_ms"] / base
        row["p99_ratio"] = None if ratio is None else round(ratio, 2)
        row["bar"] = BARS[row["phase"]]
        row["verdict"] = None if ratio is None else "holds" if ratio <= row["bar"] else "missed"
    return rows


async def measure(
    reactor: Any, made: Path, options: dict[str, Any], folder: Path, number: int
) -> dict[str, Any]:
    """Return the figures of the round *number* with the *options*, and the models in *made*."""
    token = folder / "token"
    token.write_text("a-token-of-this-benchmark\n")
    token.chmod(0o600)
    Steps.prepare(made, folder)
    with serving_models(folder / "models", folder, "--admin-token-file", str(token)) as (_, url):
        bench = Bench(reactor, url, options["deadline"])
        steps = Steps(reactor, url, folder, token.read_text().strip(), *bench.expected.values())
        capacity = await bench.capacity(options["undisturbed"] / 2)
        rate = options["load"] * capacity
        click.echo(f"round {number}: {capacity:.0f}/s at most, load {rate:.0f}/s", err=True)
        quiet = await bench.loaded(
            rate, 2 * number, lambda: deferLater(reactor, options["undisturbed"], lambda: None)
        )
        done: list[Step] = []

        async def disturb() -> None:
            began = bench.clock.seconds()
            for each in steps.all(options["swaps"]):
                await deferLater(reactor, options["every"], lambda: None)
                step = await each(began)
                click.echo(f"  {step}", err=True)
                done.append(step)
            await deferLater(reactor, options["every"], lambda: None)

        disturbed = await bench.loaded(rate, 2 * number + 1, disturb)
    rows = with_ratios(
        [
            figures("undisturbed", quiet),
            figures("disturbed", disturbed),
            figures("outside", disturbed, done),
        ]
    )
    return {
        "round": number,
        "capacity": round(capacity, 1),
        "rate": round(rate, 1),
        "phases": rows,
        "steps": [step.as_json() for step in done],
    }


@click.command()
@click.option("--load", default=0.3, show_default=True, help="Relative to the capacity.")
@click.option("--rounds", default=1, show_default=True, help="Each with a server of its own.")
@click.option("--swaps", default=10, show_default=True, help="To a correct version.")
@click.option("--undisturbed", default=20.0, show_default=True, help="Seconds of that phase.")
@click.option("--every", default=15.0, show_default=True, help="Seconds between two steps.")
@click.option("--deadline", default=1.0, show_default=True, help="Of a request, in seconds.")
@click.option("--width", default=2048, show_default=True, help="Of the widest layer of the model.")
@json_option
def main(rounds: int, width: int, file: Path | None, **options: Any) -> None:
    """Measure for five minutes a round; print the figures, and exit with 1 if a request failed."""

    async def run(reactor: Any) -> None:
        stamp = stamped("swaps", {"options": options})
        measured = []
        with TemporaryDirectory() as name:
            made = Path(name) / "made"
            make_models([made / str(it) for it in all_versions(options["swaps"])], width)
            freeze_startup_objects()  # a pause of this program would look like one of the server
            for number in range(rounds):
                folder = Path(name) / f"round{number}"
                folder.mkdir()
                measured.append(await measure(reactor, made, options, folder, number))
                shutil.rmtree(folder)
                if file is not None:
                    write(file, {**stamp, "rounds": measured})
        phases = [{"round": it["round"], **row} for it in measured for row in it["phases"]]
        hidden = ("statuses", "errors", "examples")
        click.echo(table([{k: v for k, v in row.items() if k not in hidden} for row in phases]))
        click.echo(table([step for it in measured for step in it["steps"]]))
        wrong = [row for row in phases if row.get("failed") or row.get("late") or row.get("wrong")]
        for row in wrong:
            click.echo({key: row[key] for key in ("round", "phase", *hidden)})
        if wrong or not all(
            step["as_expected"] == "yes" for it in measured for step in it["steps"]
        ):
            raise SystemExit(1)

    react(lambda reactor: ensureDeferred(run(reactor)))


if __name__ == "__main__":
    main()
