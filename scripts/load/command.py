"""
Run the command `tensorferry loadtest`: check the options, apply the loads, write the figures.

`run` is called once, on the main thread.
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
from scripts.load.measure import (
    LINGER_SECONDS,
    ClosedLoop,
    Load,
    LoadSettings,
    Measurement,
    Outcome,
    Server,
)
from scripts.load.options import DEFAULT_CLIENTS, DEFAULT_DURATION_SECONDS, Options, UsageProblem
from scripts.load.payloads import Payload
from scripts.load.plot import plot_load, plot_search
from scripts.load.progress import ProgressLine
from scripts.load.report import comparison_report, load_report, search_report
from scripts.load.search import Point, bounds, find_slo
from scripts.load.summary import Summary
from scripts.load.target import Target, UnreachableError
from scripts.load.units import seconds_in_words
from scripts.standard_output import output_problem
from tensorferry import __version__

#: A search begins at this share of the rate of a closed loop.
FIRST_RATE_SHARE = 0.7

#: The exit code if no request was answered.
EXIT_NOTHING_ANSWERED = 1

INTERRUPTED_EARLY = "Error: interrupted before there was anything to report"

#: File descriptors that are kept free for uses other than connections.
SPARE_DESCRIPTORS = 64

#: The width of the report in columns if standard output is no terminal.
PIPE_WIDTH_COLUMNS = 160


class Interrupted(Exception):
    """A signal arrived before the first result was measured, so there is nothing to report."""


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a command."""

    report: RenderableType  #: for the terminal
    figures: Mapping[str, Any]  #: for --json
    answered: bool  #: whether any request was answered
    plot: Callable[[Path], None] | None  #: writes a PNG file; None if there is no plot


class LoadTester:
    """Applies one load after the other, until a signal interrupts it."""

    def __init__(self, reactor: Any, options: Options, line: ProgressLine) -> None:
        self._reactor = reactor
        self._options = options
        self._line = line
        self._measurement: Measurement | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """End the load that is running, and start no other load."""
        self._interrupted = True
        if self._measurement is not None:
            self._measurement.stop()

    async def results(self, servers: Sequence[Server], load: Load | None) -> Results:
        """
        Apply *load*, or search for the highest rate if *load* is None; return the results.

        Two servers are compared.  Raises `Interrupted` if a signal arrives before the first result.
        """
        if load is None:
            return await self._search(servers[0])
        if len(servers) > 1:
            return await self._compare(servers, load)
        settings = self._options.load_settings(load)
        outcome = await self._measure(servers[0], load, settings)
        title = f"{servers[0].name}  {load.name}"
        facts = {"url": servers[0].name, "load": load.name, **self._facts(settings)}
        return Results(
            load_report(title, outcome.summary),
            facts | outcome.summary.as_json(),
            outcome.summary.answered > 0,
            partial(plot_load, title=title, record=outcome.record, summary=outcome.summary),
        )

    def _facts(self, settings: LoadSettings) -> dict[str, object]:
        """Return the settings that the JSON file has beside the figures."""
        return {
            "warmup_s": settings.warmup,
            "timeout_s": settings.timeout,
            "connections_allowed": settings.connections,
            "seed": settings.seed,
            "version": __version__,
        }

    async def _measure(self, server: Server, load: Load, settings: LoadSettings) -> Outcome:
        self._check_interrupted()
        self._measurement = Measurement(self._reactor, server, load, settings, self._line.draw)
        outcome = await self._measurement.run()
        if not outcome.summary.sent:
            self._check_interrupted()
        return outcome

    async def _measure_whole(self, server: Server, load: Load, settings: LoadSettings) -> Summary:
        """
        Apply *load*, one of several, and return its summary; raises `Interrupted` after a signal.
        """
        outcome = await self._measure(server, load, settings)
        self._check_interrupted()
        return outcome.summary

    def _check_interrupted(self) -> None:
        if self._interrupted:
            raise Interrupted

    async def _search(self, server: Server) -> Results:
        options, settings = self._options, self._options.load_settings(None)

        async def at(rate: float, number: int) -> Summary:
            drawn = replace(settings, seed=settings.seed + number)
            return await self._measure_whole(server, options.open_loop(rate), drawn)

        brief = ClosedLoop(
            DEFAULT_CLIENTS,
            min(max(3.0, 5 * settings.slo), options.duration or DEFAULT_DURATION_SECONDS),
        )
        seen = await self._measure_whole(server, brief, settings)
        first = seen.rate or seen.answered / brief.seconds
        if not first:
            title = f"{server.name}  {brief.name}; nothing was answered, so no rate is tried"
            return Results(load_report(title, seen), {**seen.as_json(), "rate": None}, False, None)
        points: list[Point] = []
        try:
            best, points = await find_slo(at, first * FIRST_RATE_SHARE, points.append)
        except Interrupted:
            if not points:
                raise
            best, _ = bounds(points)
            points.sort(key=lambda point: point.rate)
        figures = {
            "url": server.name,
            **self._facts(settings),
            "slo_ms": settings.slo * 1e3,
            "rate": best,
            "closed_loop": seen.as_json(),
            "curve": [{"asked": point.rate, **point.summary.as_json()} for point in points],
        }
        title = f"{server.name}  rates that keep {seconds_in_words(settings.slo)}"
        return Results(
            search_report(settings.slo, best, points),
            figures,
            True,
            partial(plot_search, title=title, points=points, slo=settings.slo),
        )

    async def _compare(self, servers: Sequence[Server], load: Load) -> Results:
        settings = self._options.load_settings(load)

        async def one(server: Server, number: int) -> Summary:
            return await self._measure_whole(
                server, load, replace(settings, seed=settings.seed + number)
            )

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
            **self._facts(settings),
            **{
                which: {"url": name, "rounds": [each.as_json() for each in rounds]}
                for which, name, rounds in zip("ab", names, (seen.first, seen.second), strict=True)
            },
            "ratios": {name: asdict(ratio) for name, ratio in seen.ratios().items()},
        }
        answered = all(each.answered for each in (*seen.first, *seen.second))
        return Results(comparison_report(names, seen), figures, answered, None)


def run(options: Options) -> None:
    """
    Run the command and end the process, with `EXIT_NOTHING_ANSWERED` if no request was answered.

    Raises `UsageProblem` before the first request is sent.  The first SIGINT ends the load that is
    running and reports what was measured; the second ends the process.
    """
    options.check()
    load = None if options.find_slo else options.load()
    targets, payloads = options.targets(), options.payloads()
    _need_descriptors(options.load_settings(load).connections)
    _log_failures()

    async def main(reactor: Any) -> None:
        servers = [_server(reactor, target, payloads, options) for target in targets]
        await deferLater(reactor, 0)  # now the reactor runs, and has set its signal handlers
        with ProgressLine(Console(stderr=True)) as line:
            tester = LoadTester(reactor, options, line)
            _interrupt_at_first_signal(reactor, tester.interrupt)
            try:
                results = await tester.results(servers, load)
            except Interrupted:
                raise SystemExit(INTERRUPTED_EARLY) from None
        try:
            write_results(options, results)
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            problem = output_problem(error) or f"cannot write{place}: {error.strerror}"
            raise SystemExit(f"Error: {problem}") from None
        if not results.answered:
            raise SystemExit(EXIT_NOTHING_ANSWERED)

    react(lambda reactor: ensureDeferred(main(reactor)))


def _server(reactor: Any, target: Target, payloads: Sequence[Payload], options: Options) -> Server:
    """
    Return the server at *target* with its requests; end the process if it accepts no connection.
    """
    try:
        endpoint = target.endpoint(reactor, options.timeout)
    except UnreachableError as error:
        raise SystemExit(f"Error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED_EARLY) from None
    requests = [target.request(payload, options.headers) for payload in payloads]
    return Server(target.url, endpoint, requests)


def write_results(options: Options, results: Results) -> None:
    """Print the report in *results*, and write the JSON and PNG files that the options name."""
    figures = json.dumps(results.figures, indent=1)
    if options.json_file is not None and str(options.json_file) == "-":
        click.echo(figures)
    else:
        width = None if sys.stdout.isatty() else PIPE_WIDTH_COLUMNS
        Console(highlight=False, soft_wrap=True, width=width).print(results.report)
        if options.json_file is not None:
            _write_file(options.json_file, lambda path: path.write_text(figures + "\n"))
    if options.png_file is not None and results.plot is not None:
        _write_file(options.png_file, results.plot)


def _write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Call *write* with *path*; its OSError then names the file, also if the disk is full."""
    try:
        write(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _interrupt_at_first_signal(reactor: Any, interrupt: Callable[[], object]) -> None:
    """Arrange that the first SIGINT calls *interrupt*, and the second ends the process."""

    def on_signal(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        click.echo(
            f"\ninterrupted: waiting {LINGER_SECONDS:g} s for answers; "
            "a second Ctrl-C stops the load test at once",
            err=True,
        )
        reactor.callFromThread(interrupt)

    signal.signal(signal.SIGINT, on_signal)


def _need_descriptors(connections: int) -> None:
    """
    Set the limit of open files to its maximum; raises `UsageProblem` if *connections* exceed it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = hard - SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and connections > most:
        raise UsageProblem(
            f"{connections} connections are more than the {most} the system allows a process: "
            "use fewer --clients, or --connections"
        )


def _log_failures() -> None:
    """
    From now on, write the failures that Twisted logs to standard error, each text once.

    A certificate error is written as one line, because the report contains it too.  Any other
    failure is an error of the load test itself, and is written with its traceback.
    """
    seen: set[str] = set()

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is None:
            return
        line = f"{formatEvent(event)}: {failure.getErrorMessage()}"
        if line not in seen:
            seen.add(line)
            about_certificate = "sslverify" in event.get("log_namespace", "")
            click.echo(line if about_certificate else failure.getTraceback(), err=True)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False)
