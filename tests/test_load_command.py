"""What the options of a load test mean together: scripts/load/command.py."""

import io
import json
import resource
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console
from rich.text import Text

import scripts.load.command
import scripts.load.options
from scripts.load.command import Interrupted, LoadTester, Results, write_results
from scripts.load.measure import ClosedLoop, Load, LoadSettings, OpenLoop, Outcome, Server
from scripts.load.options import (
    DEFAULT_CLIENTS,
    DEFAULT_CONNECTIONS,
    DEFAULT_DURATION_SECONDS,
    Options,
    UsageProblem,
)
from scripts.load.progress import ProgressLine
from scripts.load.summary import Summary
from tests.fakes.load import chance, exchange, figures, recorded, run

GIVEN = Options(
    url="localhost:12480",
    rate=None,
    clients=None,
    duration=None,
    arrivals="poisson",
    speed=1.0,
    image=None,
    image_size=(8, 8),
    form=None,
    body=None,
    content_type=None,
    headers=(),
    connections=None,
    timeout=30.0,
    warmup=0.0,
    slo=0.5,
    find_slo=None,
    compare=None,
    rounds=5,
    seed=1,
    json_file=None,
    png_file=None,
)

BOTH = {"url": None, "compare": ("a", "b")}


@pytest.mark.parametrize(
    "options",
    [
        {},
        BOTH,
        {"rate": 5.0, "arrivals": "bursts"},
        {"clients": 3, "duration": 1.0},
        {"arrivals": "trace.txt", "speed": 40.0},
        {"find_slo": 0.2, "arrivals": "constant", "png_file": Path("a.png")},
        {"body": Path("a"), "content_type": "text/plain"},
        {"image": Path("a"), "form": "data"},
        {"json_file": Path("-")},
    ],
)
def test_options_that_go_together_are_taken(options: dict[str, Any]) -> None:
    """No error is raised."""
    replace(GIVEN, **options).check()


TRACE = "a file of arrivals has its own rate: use --speed"
SEARCH = "--find-slo chooses the rates itself"
CLOSED = "a closed loop has no --arrivals"
FOLDER = "--json and --png need an existing folder"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": None}, "give a URL, or --compare with two"),
        ({"compare": ("a", "b")}, "give a URL, or --compare with two"),
        ({"rate": 5.0, "clients": 2}, "--rate is an open loop, --clients a closed one"),
        ({"find_slo": 0.2, "rate": 5.0}, SEARCH),
        ({"find_slo": 0.2, "clients": 5}, SEARCH),
        ({"find_slo": 0.2, "arrivals": "trace.txt"}, SEARCH),
        ({"find_slo": 0.2, **BOTH}, SEARCH),
        ({"arrivals": "trace.txt", "rate": 5.0}, TRACE),
        ({"arrivals": "constant", "clients": 5}, CLOSED),
        ({"arrivals": "trace.txt", "clients": 5}, CLOSED),
        ({"speed": 2.0}, "--speed is for a file of arrivals"),
        ({"speed": 2.0, "arrivals": "bursts", "rate": 5.0}, "--speed is for a file of arrivals"),
        ({"arrivals": "bursts"}, "--arrivals needs --rate"),
        ({"body": Path("a"), "image": Path("a")}, "--body and --image exclude each other"),
        ({"content_type": "text/plain"}, "--content-type belongs to --body"),
        ({"png_file": Path("a"), **BOTH}, "--png draws one load, or a search"),
        ({"json_file": Path("none/a.json")}, FOLDER),
        ({"png_file": Path("none/a.png")}, FOLDER),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, Any], message: str
) -> None:
    """In one line that states what to change, before anything is sent."""
    with pytest.raises(UsageProblem) as caught:
        replace(GIVEN, **options).check()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("missing", "advice"),
    [
        ("can_plot", r"pip install matplotlib$"),
        ("has_config_folder", "set MPLCONFIGDIR to one that can be written"),
    ],
)
def test_a_plot_needs_matplotlib_and_its_folder(
    missing: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is reported before the load, not after it."""
    monkeypatch.setattr(scripts.load.options, missing, lambda: False)
    with pytest.raises(UsageProblem, match=advice):
        replace(GIVEN, png_file=Path("a.png")).check()


def test_a_load_is_closed_unless_a_rate_is_given() -> None:
    """With defaults for options that are not given."""
    assert GIVEN.load() == ClosedLoop(DEFAULT_CLIENTS, DEFAULT_DURATION_SECONDS)
    assert replace(GIVEN, clients=3, duration=1.5).load() == ClosedLoop(3, 1.5)
    load = replace(GIVEN, rate=4.0, arrivals="constant", duration=1.0).load()
    assert isinstance(load, OpenLoop)
    assert (load.name, load.seconds) == ("constant, 4/s", 1.0)
    assert list(load.arrivals(1.0, chance(1))) == [0.0, 0.25, 0.5, 0.75]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Arrivals of 10 seconds, one a second."""
    path = tmp_path / "trace.txt"
    path.write_text("".join(f"{second}\n" for second in range(11)))
    return path


@pytest.mark.parametrize(
    ("options", "seconds", "counted"),
    [
        ({}, 10.001, 11),
        ({"speed": 2.0}, 5.001, 11),
        ({"duration": 4.0}, 4.0, 4),
        ({"duration": 60.0}, 10.001, 11),
        ({"warmup": 2.0}, 8.001, 9),
        ({"warmup": 2.0, "duration": 4.0}, 4.0, 4),
        ({"warmup": 2.0, "duration": 60.0, "speed": 2.0}, 3.001, 7),
    ],
)
def test_a_trace_lasts_from_the_warm_up_to_its_last_arrival(
    trace: Path, options: dict[str, float], seconds: float, counted: int
) -> None:
    """Or for a shorter duration: rates are over the time in which anything was due."""
    given = replace(GIVEN, arrivals=str(trace), **options)  # type: ignore[arg-type]
    load = given.load()
    assert isinstance(load, OpenLoop)
    assert load.name == f"trace.txt at {given.speed:g} times its speed"
    assert load.seconds == pytest.approx(seconds)
    due = list(load.arrivals(load.seconds + given.warmup_seconds(), chance(1)))
    assert sum(time >= given.warmup_seconds() for time in due) == counted


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, {}, "No such file or directory"),
        ("1\nx\n", {}, "line 2: expected seconds, not less than the line before; got 'x'"),
        ("1\n2\n", {"warmup": 3.0}, "--warmup is longer than the file of arrivals"),
    ],
)
def test_a_trace_that_cannot_be_replayed_is_refused(
    tmp_path: Path, text: str | None, options: dict[str, float], message: str
) -> None:
    """The message lists the patterns too: the name may be a misspelt one."""
    path = tmp_path / "poison"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageProblem) as caught:
        replace(GIVEN, arrivals=str(path), **options).load()  # type: ignore[arg-type]
    assert str(caught.value).endswith(message)
    assert "neither poisson, constant, bursts nor a file" in str(caught.value) or options


def test_what_is_sent_is_a_file_a_folder_or_made(tmp_path: Path) -> None:
    """Bare, or as the field of a form."""
    path = tmp_path / "a.png"
    path.write_bytes(b"body")
    (sent,) = replace(GIVEN, body=path).payloads()
    assert (sent.body, sent.content_type) == (b"body", "application/octet-stream")
    assert replace(GIVEN, body=path, content_type="a/b").payloads()[0].content_type == "a/b"
    assert replace(GIVEN, image=tmp_path).payloads()[0].content_type == "image/png"
    assert len({payload.body for payload in GIVEN.payloads()}) == 16
    (form,) = replace(GIVEN, image=path, form="data").payloads()
    assert form.content_type.startswith("multipart/form-data")
    with pytest.raises(UsageProblem, match="No such file"):
        replace(GIVEN, body=tmp_path / "none").payloads()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageProblem, match="there is no image"):
        replace(GIVEN, image=tmp_path / "empty").payloads()


def test_by_default_each_client_has_a_connection() -> None:
    """A search uses the value of --find-slo as its SLO."""
    assert GIVEN.load_settings(GIVEN.load()).connections == DEFAULT_CONNECTIONS
    many = replace(GIVEN, clients=5000)
    assert many.load_settings(many.load()).connections == 5000
    assert replace(many, connections=7).load_settings(many.load()).connections == 7
    assert replace(GIVEN, find_slo=0.2).load_settings(None).slo == 0.2


def test_a_bad_url_is_a_problem_of_usage() -> None:
    """Each of two, as the one."""
    assert [each.port for each in replace(GIVEN, compare=("a:1", "b:2")).targets()] == [1, 2]
    with pytest.raises(UsageProblem, match="expected an http or https URL"):
        replace(GIVEN, compare=("a", "ftp://b")).targets()


class FakeMeasurements:
    """Stands in for `Measurement`: records each load, and interrupts one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        monkeypatch.setattr(scripts.load.command, "Measurement", self._measurement)
        self.put: list[tuple[str, Load, int]] = []
        self.interrupt_at = 0  #: the number of the load that a signal interrupts; 0: none
        self.options = replace(GIVEN, **options)
        line = ProgressLine(Console(file=io.StringIO()))
        self.tester = LoadTester(None, self.options, line)

    def _measurement(
        self,
        _: object,
        server: Server,
        load: Load,
        load_settings: LoadSettings,
        write_results: object,
    ) -> "FakeMeasurements":
        self.put.append((server.name, load, load_settings.seed))
        return self

    def stop(self) -> None:
        """Do nothing."""

    async def run(self) -> Outcome:
        """Return an outcome: up to 100 requests/s are in time, and at most 1000/s are answered."""
        if len(self.put) == self.interrupt_at:
            self.tester.interrupt()
        load = self.put[-1][1]
        rate = 1000.0 if isinstance(load, ClosedLoop) else float(load.name.split()[1][:-2])
        return Outcome(recorded(exchange()), self._seen(rate))

    def _seen(self, rate: float) -> Summary:
        return figures(
            sent=100, answered=100, rate=rate, good_share=1.0 if rate <= 100 else 0.5, p50_ms=1.0
        )

    def results(self, names: Sequence[str] = ("a",)) -> Results:
        """Return the results for servers of these *names*."""
        servers = [Server(name, cast("Any", None), [b""]) for name in names]
        load = None if self.options.find_slo else self.options.load()
        return run(self.tester.results(servers, load))


def test_the_results_of_one_load_have_all_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an interrupt, of what was measured until then."""
    loads = FakeMeasurements(monkeypatch, rate=50.0)
    loads.interrupt_at = 1
    results = loads.results()
    assert results.figures["url"] == "a"
    assert results.figures["load"] == "poisson, 50/s"
    assert (results.figures["rate"], results.figures["seed"]) == (50.0, 1)
    assert results.answered
    assert results.plot is not None


@pytest.mark.parametrize(
    ("options", "interrupt_at"),
    [
        ({}, 0),  # before the load
        ({}, 1),
        ({"find_slo": 0.2}, 1),
        ({"rate": 50.0, **BOTH}, 2),  # no round is complete
    ],
)
def test_a_signal_before_anything_was_measured_leaves_nothing_to_report(
    options: dict[str, Any], interrupt_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it comes before the first load or at its beginning."""
    loads = FakeMeasurements(monkeypatch, **options)
    loads.interrupt_at = interrupt_at
    if not interrupt_at:
        loads.tester.interrupt()
    if not options:
        monkeypatch.setattr(loads, "_seen", lambda _: figures())
    with pytest.raises(Interrupted):
        loads.results(("a", "b") if "compare" in options else ("a",))
    assert len(loads.put) == interrupt_at


def test_a_search_of_a_server_that_answers_nothing_reports_its_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No rate is tried."""
    loads = FakeMeasurements(monkeypatch, find_slo=0.2)
    failed = figures(sent=3, errors=3, error_kinds={"status 500": 3}, examples={"500": "oops"})
    monkeypatch.setattr(loads, "_seen", lambda _: failed)
    results = loads.results()
    assert len(loads.put) == 1
    assert (results.answered, results.figures["rate"]) == (False, None)
    assert results.figures["error_kinds"] == {"status 500": 3}
    console = Console(file=io.StringIO(), record=True, width=200)
    console.print(results.report)
    assert "the body of the first 500: oops" in console.export_text()


def test_by_default_a_search_and_a_comparison_warm_up() -> None:
    """A client that opens its connections is slower for a moment than the server."""
    two = ("a", "b")
    given = replace(GIVEN, warmup=None)
    several = [replace(given, find_slo=0.2), replace(given, url=None, compare=two)]
    assert [options.warmup_seconds() for options in several] == [1.0, 1.0]
    assert [replace(options, warmup=0.0).warmup_seconds() for options in several] == [0.0, 0.0]
    assert given.warmup_seconds() == 0.0


def test_more_connections_than_the_system_allows_are_refused() -> None:
    """Before the first is opened."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pytest.raises(UsageProblem, match=f"{hard} connections are more than the"):
        scripts.load.command.run(replace(GIVEN, connections=hard))


def test_a_search_begins_below_what_waiting_clients_get(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each load has arrivals of its own."""
    loads = FakeMeasurements(monkeypatch, find_slo=0.2)
    results = loads.results()
    assert isinstance(loads.put[0][1], ClosedLoop)
    assert loads.put[1][1].name == "poisson, 700/s"
    assert [seed for _, _, seed in loads.put[1:]] == [1 + n for n in range(len(loads.put) - 1)]
    assert 95 <= results.figures["rate"] <= 100
    assert (results.figures["slo_ms"], results.figures["closed_loop"]["rate"]) == (200.0, 1000.0)


def test_an_interrupted_search_reports_the_rates_it_has_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sorted by rate, without the load that was cut short."""
    loads = FakeMeasurements(monkeypatch, find_slo=0.2)
    loads.interrupt_at = 9
    results = loads.results()
    asked = [point["asked"] for point in results.figures["curve"]]
    assert asked == sorted(asked)
    assert len(asked) == len(loads.put) - 2 == 7
    assert results.figures["rate"] == asked[0] <= 100


def test_an_interrupted_comparison_reports_its_complete_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both servers of a round have the same arrivals."""
    loads = FakeMeasurements(monkeypatch, rate=50.0, **BOTH)
    loads.interrupt_at = 6
    results = loads.results(("a", "b"))
    assert [(name, seed) for name, _, seed in loads.put] == [
        ("a", 1), ("b", 1), ("b", 2), ("a", 2), ("a", 3), ("b", 3),
    ]  # fmt: skip
    assert [len(results.figures[which]["rounds"]) for which in "ab"] == [2, 2]
    assert results.figures["ratios"]["rate"]["median"] == 1.0


def test_results_go_where_they_were_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report on the terminal, JSON in a file or alone on the terminal, and the plot."""
    drawn: list[Path] = []
    results = Results(Text("for [people]"), {"rate": 1.0}, True, drawn.append)
    write_results(
        replace(GIVEN, json_file=tmp_path / "a.json", png_file=tmp_path / "a.png"), results
    )
    assert capsys.readouterr().out == "for [people]\n"
    assert json.loads((tmp_path / "a.json").read_text()) == {"rate": 1.0}
    assert drawn == [tmp_path / "a.png"]
    write_results(replace(GIVEN, json_file=Path("-")), results)
    assert json.loads(capsys.readouterr().out) == {"rate": 1.0}
    write_results(replace(GIVEN, png_file=tmp_path / "a.png"), replace(results, plot=None))
    assert len(drawn) == 1
