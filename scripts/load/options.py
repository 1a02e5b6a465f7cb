"""
Check the options of `tensorferry loadtest` and turn them into loads, payloads and targets.

Reads the files that the options name; sends nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model import packages
from scripts.load import arrivals
from scripts.load.measure import ClosedLoop, Load, LoadSettings, OpenLoop
from scripts.load.payloads import Payload, generate_images, images_at
from scripts.load.plot import NO_CONFIG_FOLDER, can_plot, has_config_folder
from scripts.load.target import Target, parse_url

#: The default length of a load, number of clients in a closed loop, and maximum of connections.
DEFAULT_DURATION_SECONDS, DEFAULT_CLIENTS, DEFAULT_CONNECTIONS = 10.0, 32, 1000

#: The default warm-up of a search and of a comparison.  A search measures at rates where a client
#: that is still opening connections would be too slow.
DEFAULT_WARMUP_SECONDS = 1.0


class UsageProblem(Exception):
    """The options contradict each other or cannot be used; the message states why, in one line."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line; None: the option was not given.  Times are seconds."""

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
    warmup: float | None
    slo: float
    find_slo: float | None
    compare: tuple[str, str] | None
    rounds: int
    seed: int
    json_file: Path | None
    png_file: Path | None

    def check(self) -> None:
        """Raise `UsageProblem` if options contradict each other."""
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
            f"--png needs matplotlib: {packages.PLOT}": self.png_file and not can_plot(),
            NO_CONFIG_FOLDER: self.png_file and can_plot() and not has_config_folder(),
            "--png draws one load, or a search": self.png_file and self.compare,
            "--json and --png need an existing folder": any(
                file and not file.parent.is_dir() for file in (self.json_file, self.png_file)
            ),
        }
        for problem, holds in wrong.items():
            if holds:
                raise UsageProblem(problem)

    def load(self) -> Load:
        """
        Return the load that the options describe; raises `UsageProblem` for an unusable trace file.
        """
        if self.arrivals not in arrivals.PATTERNS:
            return self._replay()
        seconds = self.duration or DEFAULT_DURATION_SECONDS
        if self.rate is None:
            return ClosedLoop(self.clients or DEFAULT_CLIENTS, seconds)
        return self.open_loop(self.rate)

    def open_loop(self, rate: float) -> OpenLoop:
        """Return an open loop of *rate* requests a second."""
        pattern = arrivals.PATTERNS[self.arrivals]
        return OpenLoop(
            f"{self.arrivals}, {rate:g}/s",
            partial(pattern, rate),
            self.duration or DEFAULT_DURATION_SECONDS,
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
        # The load ends 1 ms after the last arrival, so that this arrival counts.
        seconds = times[-1] / self.speed + 1e-3 - self.warmup_seconds()
        if seconds <= 0:
            raise UsageProblem("--warmup is longer than the file of arrivals")
        if self.duration is not None:
            seconds = min(seconds, self.duration)

        def replayed(until: float, _: object) -> Iterator[float]:
            return arrivals.replayed(times, self.speed, until)

        return OpenLoop(f"{path.name} at {self.speed:g} times its speed", replayed, seconds)

    def payloads(self) -> list[Payload]:
        """
        Return the bodies to send, one after the other; raises `UsageProblem` for an unusable file.
        """
        try:
            if self.body is not None:
                kind = self.content_type or "application/octet-stream"
                payloads = [Payload(self.body.read_bytes(), kind)]
            elif self.image is not None:
                payloads = images_at(self.image)
            else:
                payloads = list(generate_images(*self.image_size, self.seed))
        except (OSError, ValueError) as error:
            raise UsageProblem(f"{getattr(error, 'strerror', None) or error}") from error
        return [each.as_form(self.form) for each in payloads] if self.form else payloads

    def warmup_seconds(self) -> float:
        """Return the seconds at the start of a load that count in no figure."""
        several = self.find_slo is not None or self.compare is not None
        return (DEFAULT_WARMUP_SECONDS if several else 0.0) if self.warmup is None else self.warmup

    def load_settings(self, load: Load | None) -> LoadSettings:
        """
        Return the settings that all loads of this command share.

        *load* decides the default number of connections; None for a search, whose loads are not
        known yet.
        """
        clients = load.clients if isinstance(load, ClosedLoop) else 0
        return LoadSettings(
            warmup=self.warmup_seconds(),
            connections=self.connections or max(DEFAULT_CONNECTIONS, clients),
            timeout=self.timeout,
            slo=self.find_slo or self.slo,
            seed=self.seed,
        )

    def targets(self) -> tuple[Target, ...]:
        """
        Return the server to test, or the two to compare; raises `UsageProblem` for an invalid URL.
        """
        try:
            return tuple(parse_url(url) for url in self.compare or (self.url or "",))
        except ValueError as error:
            raise UsageProblem(str(error)) from error
