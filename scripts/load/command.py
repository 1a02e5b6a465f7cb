"""
Carry out the command `tensorferry loadtest`: options in, loads put, figures out.

Decides what the options mean together.  Main thread, once.
"""

import json
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater, react

from scripts.load import arrivals
from scripts.load.compare import Comparison, compare
from scripts.load.measure import ClosedLoop, Load, Measurement, OpenLoop, Outcome, Server, Terms
from scripts.load.payloads import Payload, made_pictures, pictures_at
from scripts.load.plot import can_plot, plot_load, plot_search
from scripts.load.progress import ProgressLine
from scripts.load.report import of_comparison, of_load, of_search
from scripts.load.search import Point, bounds, find_slo
from scripts.load.summary import Summary
from scripts.load.target import Target, UnreachableError, parse_url
from scripts.load.units import seconds_in_words
from tensorferry import __version__

#: Seconds that requests are sent, the clients of a closed loop and the connections, by default.
DURATION, CLIENTS, CONNECTIONS = 10.0, 32, 1000

#: A search begins at this share of what a closed loop gets answered.
BEGIN = 0.7

#: The exit code where nothing was answered.
FAILED = 1


class UsageProblem(Exception):
    """The options do not go together; the message says what to change, in one line."""


class Interrupted(Exception):
    """A signal came before there was anything to tell."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options as they were given, None where they were not; times are seconds."""

    url: str | None
    rate: float | None
    clients: int | None
    duration: float | None
    arrivals: str
    speed: float
    image: Path | None
    image_size: tuple[int, int]
    form: str | None
    body: Path | None
    content_type: str | None
    headers: tuple[tuple[str, str], ...]
    connections: int | None
    timeout: float
    warmup: float
    slo: float
    find_slo: float | None
    compare: tuple[str, str] | None
    rounds: int
    seed: int
    json_file: Path | None
    png_file: Path | None

    def check(self) -> None:
        """Raise `UsageProblem` where they contradict each other."""
        trace = self.arrivals not in arrivals.PATTERNS
        wrong = {
            "give a URL, or --compare with two": (self.url is None) == (self.compare is None),
            "--rate is an open loop, --clients a closed one": self.rate and self.clients,
            "--find-slo chooses the rates itself": self.find_slo
            and (self.rate or self.clients or trace or self.compare),
            "a file of arrivals has its own rate: use --speed": trace and self.rate,
            "a closed loop has no --arrivals": self.clients and self.arrivals != "poisson",
            "--speed is for a file of arrivals": self.speed != 1 and not trace,
            "--arrivals needs --rate": self.arrivals != "poisson"
            and not trace
            and not self.rate
            and not self.find_slo,
            "--body and --image exclude each other": self.body and self.image,
            "--content-type belongs to --body": self.content_type and not self.body,
            "--png needs matplotlib: pip install 'tensorferry[plot]'": self.png_file
            and not can_plot(),
            "--png draws one load, or a search": self.png_file and self.compare,
            "--json and --png need a folder that is there": any(
                file and not file.parent.is_dir() for file in (self.json_file, self.png_file)
            ),
        }
        for problem, holds in wrong.items():
            if holds:
                raise UsageProblem(problem)

    def load(self) -> Load:
        """Return the one load that is asked for; raises `UsageProblem`."""
        if self.arrivals not in arrivals.PATTERNS:
            return self._replay()
        seconds = self.duration or DURATION
        if self.rate is None:
            return ClosedLoop(self.clients or CLIENTS, seconds)
        return self.open_loop(self.rate)

    def open_loop(self, rate: float) -> OpenLoop:
        """Return an open loop of *rate* requests a second."""
        pattern = arrivals.PATTERNS[self.arrivals]
        return OpenLoop(
            f"{self.arrivals}, {rate:g}/s", partial(pattern, rate), self.duration or DURATION
        )

    def _replay(self) -> OpenLoop:
        path = Path(self.arrivals)
        try:
            times = arrivals.read_trace(path)
        except (OSError, ValueError) as error:
            names = ", ".join(arrivals.PATTERNS)
            problem = error.strerror if isinstance(error, OSError) else error
            raise UsageProblem(
                f"--arrivals: neither {names} nor a file of arrivals: {path}: {problem}"
            ) from error
        # The last arrival counts, too; after it nothing is due, whatever the duration.
        seconds = times[-1] / self.speed + 1e-3 - self.warmup
        if seconds <= 0:
            raise UsageProblem("--warmup leaves nothing of the file of arrivals")
        if self.duration is not None:
            seconds = min(seconds, self.duration)

        def replayed(until: float, _: object) -> Iterator[float]:
            return arrivals.replayed(times, self.speed, until)

        return OpenLoop(f"{path.name} at {self.speed:g} times its speed", replayed, seconds)

    def payloads(self) -> list[Payload]:
        """Return what is sent in turn; raises `UsageProblem`."""
        try:
            if self.body is not None:
                kind = self.content_type or "application/octet-stream"
                payloads = [Payload(self.body.read_bytes(), kind)]
            elif self.image is not None:
                payloads = pictures_at(self.image)
            else:
                payloads = list(made_pictures(*self.image_size, self.seed))
        except (OSError, ValueError) as error:
            raise UsageProblem(f"{getattr(error, 'strerror', None) or error}") from error
        return [each.as_form(self.form) for each in payloads] if self.form else payloads

    def terms(self, load: Load | None) -> Terms:
        """Return what is the same for every load."""
        clients = load.clients if isinstance(load, ClosedLoop) else 0
        return Terms(
            warmup=self.warmup,
            connections=self.connections or max(CONNECTIONS, clients),
            timeout=self.timeout,
            slo=self.find_slo or self.slo,
            seed=self.seed,
        )

    def targets(self) -> tuple[Target, ...]:
        """Return where requests go; raises `UsageProblem`."""
        try:
            return tuple(parse_url(url) for url in self.compare or (self.url or "",))
        except ValueError as error:
            raise UsageProblem(str(error)) from error


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
        facts = {"url": servers[0].name, "load": load.name, **asdict(terms), "version": __version__}
        return Results(
            of_load(title, outcome.summary),
            facts | outcome.summary.as_json(),
            outcome.summary.answered > 0,
            partial(plot_load, title=title, record=outcome.record, summary=outcome.summary),
        )

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
        points: list[Point] = []
        best: float | None = None
        if first:
            try:
                best, points = await find_slo(at, first * BEGIN, points.append)
            except Interrupted:
                if not points:
                    raise
                best, _ = bounds(points)
                points.sort(key=lambda point: point.rate)
        figures = {
            "url": server.name,
            "slo_ms": terms.slo * 1e3,
            "rate": best,
            "closed_loop_rate": first,
            "curve": [{"asked": point.rate, **point.summary.as_json()} for point in points],
        }
        title = f"{server.name}  rates that keep {seconds_in_words(terms.slo)}"
        return Results(
            of_search(terms.slo, best, points),
            figures,
            first > 0,
            partial(plot_search, title=title, points=points, slo=terms.slo) if points else None,
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
    _allow_many_descriptors()

    async def main(reactor: Any) -> None:
        try:
            servers = [
                Server(
                    target.url,
                    target.endpoint(reactor, options.timeout),
                    [target.request(payload, options.headers) for payload in payloads],
                )
                for target in targets
            ]
        except UnreachableError as error:
            raise SystemExit(f"Error: {error}") from None
        await deferLater(reactor, 0)  # now the reactor runs, and has set its signals
        with ProgressLine(Console(stderr=True)) as line:
            tester = LoadTester(reactor, options, line)
            _interrupt_at_first_signal(reactor, tester.interrupt)
            try:
                results = await tester.results(servers, load)
            except Interrupted:
                raise SystemExit(FAILED) from None
        tell(options, results)
        if not results.answered:
            raise SystemExit(FAILED)

    react(lambda reactor: ensureDeferred(main(reactor)))


def tell(options: Options, results: Results) -> None:
    """Print *results*, and write the files that were asked for."""
    figures = json.dumps(results.figures, indent=1)
    if options.json_file is not None and str(options.json_file) == "-":
        sys.stdout.write(figures + "\n")
    else:
        Console(highlight=False, soft_wrap=True).print(results.shown)
        if options.json_file is not None:
            options.json_file.write_text(figures + "\n")
    if options.png_file is not None and results.plot is not None:
        results.plot(options.png_file)


def _interrupt_at_first_signal(reactor: Any, interrupt: Callable[[], object]) -> None:
    """Call *interrupt* at the first SIGINT; the second one ends the process."""

    def heed(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        reactor.callFromThread(interrupt)

    signal.signal(signal.SIGINT, heed)


def _allow_many_descriptors() -> None:
    """Let this process have as many connections as the system lets it have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
