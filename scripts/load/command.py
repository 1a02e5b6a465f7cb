"""
Carry out the command `tensorferry loadtest`: options in, loads put, figures out.

Main thread, once.
"""

import json
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater, react
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogBeginner
from zope.interface import provider

from scripts.load.compare import Comparison, compare
from scripts.load.measure import LINGER, ClosedLoop, Load, Measurement, Outcome, Server, Terms
from scripts.load.options import CLIENTS, DURATION, Options, UsageProblem
from scripts.load.payloads import Payload
from scripts.load.plot import plot_load, plot_search
from scripts.load.progress import ProgressLine
from scripts.load.report import of_comparison, of_load, of_search
from scripts.load.search import Point, bounds, find_slo
from scripts.load.summary import Summary
from scripts.load.target import Target, UnreachableError
from scripts.load.units import seconds_in_words
from tensorferry import __version__

#: A search begins at this share of what a closed loop gets answered.
BEGIN = 0.7

#: The exit code where nothing was answered.
FAILED = 1

NOTHING = "Error: interrupted before there was anything to tell"

#: Descriptors that are not for connections.
SPARE = 64

#: Columns of what is printed to no terminal.
WIDE = 160


class Interrupted(Exception):
    """A signal came before there was anything to tell."""


@dataclass(frozen=True, slots=True)
class Results:
    """What a command found out."""

    shown: RenderableType  #: for people
    figures: Mapping[str, Any]  #: for --json
    answered: bool  #: whether there was any answer
    plot: Callable[[Path], None] | None  #: draws it


class LoadTester:
    """Puts one load after the other, until a signal ends it."""

    def __init__(self, reactor: Any, options: Options, line: ProgressLine) -> None:
        self._reactor = reactor
        self._options = options
        self._line = line
        self._measurement: Measurement | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """End the load under way, and begin no other."""
        self._interrupted = True
        if self._measurement is not None:
            self._measurement.stop()

    async def results(self, servers: Sequence[Server], load: Load | None) -> Results:
        """Return what the command asks for: of *load*, or of a search where there is none."""
        if load is None:
            return await self._search(servers[0])
        if len(servers) > 1:
            return await self._compare(servers, load)
        terms = self._options.terms(load)
        outcome = await self._measure(servers[0], load, terms)
        title = f"{servers[0].name}  {load.name}"
        facts = {"url": servers[0].name, "load": load.name, **self._facts(terms)}
        return Results(
            of_load(title, outcome.summary),
            facts | outcome.summary.as_json(),
            outcome.summary.answered > 0,
            partial(plot_load, title=title, record=outcome.record, summary=outcome.summary),
        )

    def _facts(self, terms: Terms) -> dict[str, object]:
        """Return what of the terms is worth keeping beside the figures."""
        return {
            "warmup_s": terms.warmup,
            "timeout_s": terms.timeout,
            "connections_allowed": terms.connections,
            "seed": terms.seed,
            "version": __version__,
        }

    async def _measure(self, server: Server, load: Load, terms: Terms) -> Outcome:
        self._go_on()
        self._measurement = Measurement(self._reactor, server, load, terms, self._line.tell)
        outcome = await self._measurement.run()
        if not outcome.summary.sent:
            self._go_on()
        return outcome

    async def _whole(self, server: Server, load: Load, terms: Terms) -> Summary:
        """Return the figures of a load that is one of several: cut short, it tells nothing."""
        outcome = await self._measure(server, load, terms)
        self._go_on()
        return outcome.summary

    def _go_on(self) -> None:
        if self._interrupted:
            raise Interrupted

    async def _search(self, server: Server) -> Results:
        options, terms = self._options, self._options.terms(None)

        async def at(rate: float, number: int) -> Summary:
            drawn = replace(terms, seed=terms.seed + number)
            return await self._whole(server, options.open_loop(rate), drawn)

        brief = ClosedLoop(CLIENTS, min(max(3.0, 5 * terms.slo), options.duration or DURATION))
        seen = await self._whole(server, brief, terms)
        first = seen.rate or seen.answered / brief.seconds
        if not first:
            title = f"{server.name}  {brief.name}; no rate is worth trying"
            return Results(of_load(title, seen), {**seen.as_json(), "rate": None}, False, None)
        points: list[Point] = []
        try:
            best, points = await find_slo(at, first * BEGIN, points.append)
        except Interrupted:
            if not points:
                raise
            best, _ = bounds(points)
            points.sort(key=lambda point: point.rate)
        figures = {
            "url": server.name,
            **self._facts(terms),
            "slo_ms": terms.slo * 1e3,
            "rate": best,
            "closed_loop": seen.as_json(),
            "curve": [{"asked": point.rate, **point.summary.as_json()} for point in points],
        }
        title = f"{server.name}  rates that keep {seconds_in_words(terms.slo)}"
        return Results(
            of_search(terms.slo, best, points),
            figures,
            True,
            partial(plot_search, title=title, points=points, slo=terms.slo),
        )

    async def _compare(self, servers: Sequence[Server], load: Load) -> Results:
        terms = self._options.terms(load)

        async def one(server: Server, number: int) -> Summary:
            return await self._whole(server, load, replace(terms, seed=terms.seed + number))

        first, second = servers
        seen = Comparison()
        try:
            await compare((partial(one, first), partial(one, second)), self._options.rounds, seen)
        except Interrupted:
            if not seen.first:
                raise
        names = (first.name, second.name)
        figures = {
            "load": load.name,
            **self._facts(terms),
            **{
                which: {"url": name, "rounds": [each.as_json() for each in rounds]}
                for which, name, rounds in zip("ab", names, (seen.first, seen.second), strict=True)
            },
            "ratios": {name: asdict(ratio) for name, ratio in seen.ratios().items()},
        }
        answered = all(each.answered for each in (*seen.first, *seen.second))
        return Results(of_comparison(names, seen), figures, answered, None)


def run(options: Options) -> None:
    """
    Do what *options* say; ends the process, with `FAILED` where nothing was answered.

    Raises `UsageProblem` before anything is sent.  The first SIGINT ends the load under way, and
    what was measured is told; the second ends the process.
    """
    options.check()
    load = None if options.find_slo else options.load()
    targets, payloads = options.targets(), options.payloads()
    _need_descriptors(options.terms(load).connections)
    _log_failures()

    async def main(reactor: Any) -> None:
        servers = [_server(reactor, target, payloads, options) for target in targets]
        await deferLater(reactor, 0)  # now the reactor runs, and has set its signals
        with ProgressLine(Console(stderr=True)) as line:
            tester = LoadTester(reactor, options, line)
            _interrupt_at_first_signal(reactor, tester.interrupt)
            try:
                results = await tester.results(servers, load)
            except Interrupted:
                raise SystemExit(NOTHING) from None
        try:
            tell(options, results)
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            raise SystemExit(f"Error: cannot write{place}: {error.strerror}") from None
        if not results.answered:
            raise SystemExit(FAILED)

    react(lambda reactor: ensureDeferred(main(reactor)))


def _server(reactor: Any, target: Target, payloads: Sequence[Payload], options: Options) -> Server:
    """Return the server at *target*, which has to be there: else this ends the process."""
    try:
        endpoint = target.endpoint(reactor, options.timeout)
    except UnreachableError as error:
        raise SystemExit(f"Error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(NOTHING) from None
    requests = [target.request(payload, options.headers) for payload in payloads]
    return Server(target.url, endpoint, requests)


def tell(options: Options, results: Results) -> None:
    """Print *results*, and write the files that were asked for."""
    figures = json.dumps(results.figures, indent=1)
    if options.json_file is not None and str(options.json_file) == "-":
        sys.stdout.write(figures + "\n")
    else:
        width = None if sys.stdout.isatty() else WIDE
        Console(highlight=False, soft_wrap=True, width=width).print(results.shown)
        if options.json_file is not None:
            options.json_file.write_text(figures + "\n")
    if options.png_file is not None and results.plot is not None:
        results.plot(options.png_file)


def _interrupt_at_first_signal(reactor: Any, interrupt: Callable[[], object]) -> None:
    """Call *interrupt* at the first SIGINT; the second one ends the process."""

    def heed(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        click.echo(f"\ninterrupted: answers have {LINGER:g} s; once more ends at once", err=True)
        reactor.callFromThread(interrupt)

    signal.signal(signal.SIGINT, heed)


def _need_descriptors(connections: int) -> None:
    """Let this process have that many; raises `UsageProblem` where the system does not."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = hard - SPARE
    if hard != resource.RLIM_INFINITY and connections > most:
        raise UsageProblem(
            f"{connections} connections are more than the {most} that this system lets a process "
            "have: use fewer --clients, or --connections"
        )


def _log_failures() -> None:
    """
    Have what Twisted logs as failed on stderr, once for each kind.

    What it has against a certificate is a line, for the summary tells it, too; anything else is
    wrong here, and comes with its traceback.
    """
    told: set[str] = set()

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is None:
            return
        line = f"{formatEvent(event)}: {failure.getErrorMessage()}"
        if line not in told:
            told.add(line)
            of_a_certificate = "sslverify" in event.get("log_namespace", "")
            click.echo(line if of_a_certificate else failure.getTraceback(), err=True)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False)
