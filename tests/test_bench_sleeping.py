"""The server without flags and fixed settings: benchmarks/sleeping*.py, without a socket."""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from batcher.errors import OutOfMemory
from benchmarks.sleeping import as_json, main
from benchmarks.sleeping_model import SleepingRunner, sleeping_loader
from benchmarks.sleeping_plan import QUICK, SLOW, Fixed, finalists, greedy, grid, that_carry
from benchmarks.sleeping_runs import Extent, Part, Rounds, arriving, figures_of, in_turn
from benchmarks.sleeping_verdicts import BoundedFigure, best_fixed, closed, overload, ratio, report
from benchmarks.sleeping_verdicts import grid as grid_of
from model.backends.null import LENGTHS
from model.signature import STRING, Feed
from scripts.load.summary import Summary
from scripts.simulation.service import Service
from server.settings.table import Settings
from tests.fakes.model import check_runner

AT_ONCE = Service("at once", (0.0, 0.0, 0.0, 0.0), (1, 3))


# --- what is measured


def test_the_grid_has_four_delays_for_each_power_of_two() -> None:
    """The delays are multiples of the time of a run of one row."""
    settings = grid(SLOW)
    assert len(settings) == len(set(settings)) == 24
    assert [it.rows for it in settings[::4]] == [1, 2, 4, 8, 16, 32]
    assert [it.delay_ms for it in settings[:4]] == [0.0, 11.0, 22.0, 44.0]
    assert settings[1].options == ("--max-batch-size", "1", "--max-queue-delay-ms", "11")


@pytest.mark.parametrize(("share", "sizes"), [(0.3, {4, 8, 16, 32}), (0.6, {16, 32}), (0.9, {32})])
def test_settings_that_cannot_keep_up_are_not_tried(share: float, sizes: set[int]) -> None:
    """Their latencies would only grow with the time of the load."""
    assert {it.rows for it in that_carry(grid(SLOW), SLOW, share)} == sizes


def test_greedy_takes_up_to_the_true_knee_and_never_waits() -> None:
    """Not up to the knee that a warm-up estimates."""
    assert greedy(QUICK) == Fixed(64, 0.0)


def test_only_settings_close_to_the_best_are_tried_again() -> None:
    """Sorted, and at most five; a setting without answers is not."""
    means: dict[Fixed, float | None] = {
        Fixed(rows, 0.0): mean
        for rows, mean in enumerate([11.4, None, 10.0, 11.6, 10.1, 10.2, 10.3, 10.4], 1)
    }
    assert [it.rows for it in finalists(means)] == [3, 5, 6, 7, 8]
    assert [it.rows for it in finalists({Fixed(1, 0.0): 11.4, Fixed(2, 0.0): 11.6})] == [1, 2]
    assert [it.rows for it in finalists({Fixed(1, 0.0): 10.0, Fixed(2, 0.0): 11.6})] == [1]
    assert finalists({Fixed(1, 0.0): None}) == []


def test_rounds_go_forwards_and_backwards() -> None:
    """So that no server is always the last."""
    assert [in_turn([1, 2, 3], number) for number in (0, 1, 2)] == [[1, 2, 3], [3, 2, 1], [1, 2, 3]]


def test_a_quick_measurement_has_one_short_round() -> None:
    """And shorter times stay."""
    assert Extent(3, 2.5, 6.0).quick() == Extent(1, 1.0, 2.0)
    assert Extent(3, 0.5, 1.0).quick() == Extent(1, 0.5, 1.0)


@pytest.mark.parametrize("pattern", ["poisson", "bursts"])
def test_arrivals_come_at_the_rate_that_was_asked_for(pattern: str) -> None:
    """On average."""
    load = arriving(pattern, 200.0, SLOW, 100.0)
    times = list(load.arrivals(load.seconds, random.Random(5)))  # noqa: S311 - no secret
    assert times == sorted(times)
    assert len(times) == pytest.approx(20_000, rel=0.1)


def test_rows_hold_a_figure_for_each_round() -> None:
    """Refusals (429) apart from requests that were given up (504)."""
    figures = {
        "rate": 5.0, "statuses": {"200": 1, "429": 3, "504": 2},
        "refusals": {"429": {"p99_ms": 7.0}, "504": {"p99_ms": 490.0}},
    }  # fmt: skip
    summary: Any = SimpleNamespace(**figures, as_json=lambda: figures)
    calm: Any = SimpleNamespace(
        statuses={"200": 9}, refusals={}, as_json=lambda: {"rate": 6.0, "refusals": {}}
    )
    rounds = Rounds("rate", "refused", "refused_p99_ms", "dropped")
    rounds.add({"clients": 2}, figures_of(summary, 0.46, 0.12))
    rounds.add({"clients": 2}, figures_of(calm, 0.5, 0.0))
    assert rounds.rows == [
        {
            "clients": 2, "rate": [5.0, 6.0], "refused": [3, 0], "refused_p99_ms": [7.0, None],
            "dropped": [2, 0], "server_cores": [0.46, 0.5], "others_cores": [0.12, 0.0],
        }
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["mean_ms", "p99_ms", "rate", "goodput", "offered", "mean_rows"])
def test_a_summary_has_the_figures_that_are_kept(name: str) -> None:
    """Under these names."""
    assert name in Summary.__dataclass_fields__


def test_parts_are_kept_as_terms_and_rows() -> None:
    """In the order in which they were measured."""
    parts = {"closed": Part({"rounds": 1}, [{"clients": 2}]), "grid": Part({}, [])}
    assert as_json(parts) == {
        "terms": {"closed": {"rounds": 1}, "grid": {}}, "closed": [{"clients": 2}], "grid": [],
    }  # fmt: skip


# --- whether the figures are within their bounds


def fixed(rows: int | None, delay: float | None, *means: float) -> dict[str, Any]:
    """Return the row of a setting at the load 0.6."""
    return {
        "load": 0.6, "max_batch": rows, "delay_ms": delay, "mean_ms": list(means),
        "p99_ms": [2 * mean for mean in means], "mean_rows": [4.0] * len(means),
    }  # fmt: skip


def closed_row(clients: int, policy: str, *rates: float) -> dict[str, Any]:
    """Return the row of a closed loop."""
    figures = {"mean_rows": [float(clients)] * 2, "server_cores": [0.4, 0.6]}
    return {"clients": clients, "policy": policy, "rate": list(rates), **figures}


def over(pattern: str, *goodput: float) -> dict[str, Any]:
    """Return the row of an overload, of which the second round offered less than the capacity."""
    return {
        "arrivals": pattern, "load": 1.2, "offered": [240.0, 80.0], "goodput": list(goodput),
        "p99_ms": [490.0, 495.0], "refused": [9, 11], "refused_p99_ms": [4.0, None],
        "dropped": [0, 1],
    }  # fmt: skip


def terms(curve: str, cap: int, **more: Any) -> dict[str, Any]:
    """Return the terms of a part."""
    return {"curve": curve, "cap": cap, "rounds": 2, "seconds": 6.0, **more}


GRID = [
    fixed(None, None, 33.0, 44.0), fixed(16, 22.0, 29.0), fixed(32, 0.0, 30.0, 40.0),
    fixed(32, 11.0, 32.0, 44.0),
]  # fmt: skip
CLOSED = [
    closed_row(1, "auto", 200.0, 210.0), closed_row(1, "greedy", 200.0, 200.0),
    closed_row(8, "auto", 900.0, 1400.0), closed_row(8, "greedy", 700.0, 700.0),
]  # fmt: skip
OVERLOAD = [over("poisson", 190.0, 72.0), over("bursts", 152.0, 40.0)]
KEPT = {
    "terms": {
        "grid": terms("20 + 2 b ms", 32),
        "closed": terms("4 + 0.1 b ms", 64, greedy=64),
        "overload": terms("20 + 4 b ms", 16, capacity=190.0, slo_ms=500.0),
    },
    "grid": GRID,
    "closed": CLOSED,
    "overload": OVERLOAD,
}


@pytest.mark.parametrize(
    ("value", "least", "text"),
    [
        (1.3, True, "x: 1.300, min 1.30: holds"),
        (1.29, True, "x: 1.290, min 1.30: MISSED"),
        (1.3, False, "x: 1.300, max 1.30: holds"),
        (1.31, False, "x: 1.310, max 1.30: MISSED"),
        (None, False, "x: -, max 1.30: MISSED"),
    ],
)
def test_a_figure_is_within_its_bound_or_not(
    value: float | None, text: str, *, least: bool
) -> None:
    """A figure at its bound is within it; an unknown figure is not."""
    assert str(BoundedFigure("x", value, 1.3, least)) == text


def test_a_ratio_is_the_median_of_those_of_each_round() -> None:
    """Rounds in which one of the two has no figure do not count."""
    ours, theirs = {"x": [2.0, 9.0, None, 4.0]}, {"x": [1.0, 3.0, 5.0, 0.0, 7.0]}
    assert ratio(ours, theirs, "x") == 2.5
    assert ratio(ours, {"x": []}, "x") is None


def test_the_best_fixed_setting_was_measured_in_all_rounds() -> None:
    """The smallest mean of one round is not enough."""
    assert best_fixed(GRID) is GRID[2]
    assert best_fixed(GRID[:1]) is None


@pytest.mark.parametrize(
    ("part", "rows", "terms", "figures"),
    [
        # the server without flags, compared with the best fixed setting
        (grid_of, GRID, {}, [(1.1, False)]),
        (grid_of, GRID[:1], {}, [(None, False)]),
        # the smallest gain over greedy, for a few clients and for any number
        (closed, CLOSED, {}, [(11.5 / 7, True), (1.025, True)]),
        # goodput over what was offered where that was less; of the refusals the slowest count
        (overload, OVERLOAD, {"capacity": 190.0}, [(0.95, True), (0.65, False), (4.0, True)]),
    ],
)
def test_each_part_has_its_figures(
    part: Any, rows: list[Any], terms: dict[str, float], figures: list[tuple[float | None, bool]]
) -> None:
    """And whether they are within their bounds."""
    _, found = part(rows, terms)
    assert [figure.value for figure in found] == pytest.approx([value for value, _ in figures])
    assert [figure.holds for figure in found] == [holds for _, holds in figures]


def test_the_tables_name_the_settings_and_the_gains() -> None:
    """A gain is the throughput divided by greedy's."""
    rows, _ = grid_of(GRID, {})
    assert [(row["setting"], row["max_batch"]) for row in rows] == [
        ("no flags", None), ("best fixed", 32),
    ]  # fmt: skip
    assert [row["ratio"] for row in closed(CLOSED, {})[0]] == [1.025, pytest.approx(11.5 / 7)]


def test_the_report_has_all_parts_that_were_measured() -> None:
    """With a table and the bounds of each."""
    text = report(KEPT)
    assert text.count(": holds") == 4
    assert text.count(": MISSED") == 2
    assert [line.partition(":")[0] for line in text.splitlines() if "a run of b" in line] == [
        "grid", "closed", "overload",
    ]  # fmt: skip
    assert report({"terms": {}}) == ""


# --- the model and its server


def feed(*bodies: bytes) -> Feed:
    """Return *bodies*, one a row."""
    return LENGTHS.feed({"body": np.array(bodies, STRING)})


def test_the_sleeping_model_is_a_runner_with_room_for_its_curve() -> None:
    """More rows than the curve lists are out of memory."""
    runner = SleepingRunner(AT_ONCE)
    check_runner(runner, feed(b"a", b"", b"abc"))
    with pytest.raises(OutOfMemory):
        runner.run(feed(b"", b"", b"", b""))
    runner.close()


@pytest.mark.parametrize(("asked", "lanes"), [(None, 1), (3, 3)])
def test_it_is_loaded_for_one_lane_unless_more_are_asked_for(asked: int | None, lanes: int) -> None:
    """Under its name."""
    lines: list[str] = []
    loaded = sleeping_loader(AT_ONCE)(Settings(lanes=asked), lines.append)
    assert (loaded.name, loaded.lanes, lines) == ("sleeping", lanes, ["loading the sleeping model"])


@pytest.fixture
def curve(tmp_path: Path) -> str:
    """Return the file of a curve."""
    file = tmp_path / "curve.json"
    file.write_text(json.dumps({"1": 0.022, "32": 0.084}))
    return str(file)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), (None, None, None)),
        (("--max-batch-size", "8", "--max-queue-delay-ms", "0"), (8, 0.0, None)),
    ],
)
def test_it_is_served_with_no_flags_but_those_that_are_given(
    options: tuple[str, ...], expected: tuple[object, ...], curve: str, monkeypatch: Any
) -> None:
    """The variables of the server do not count."""
    served: list[Settings] = []

    def run(settings: Settings, **_: object) -> int:
        served.append(settings)
        return 0

    monkeypatch.setattr("benchmarks.sleeping.run_server", run)
    variables = {"TENSORFERRY_MAX_BATCH_SIZE": "3", "TENSORFERRY_DEFAULT_TIMEOUT": "9"}
    arguments = ["serve", "--latency", curve, *options]
    assert CliRunner().invoke(main, arguments, env=variables).exit_code == 0
    (settings,) = served
    found = (settings.max_batch_size, settings.max_queue_delay, settings.default_timeout)
    assert found == expected


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("{}", (), "expected seconds by rows"),
        ('{"1": 0.02}', ("--max-batch-size", "many"), "--max-batch-size"),
    ],
)
def test_a_wrong_option_is_an_error_at_once(
    content: str, options: tuple[str, ...], message: str, curve: str
) -> None:
    """Of the curve as of the settings."""
    Path(curve).write_text(content)
    result = CliRunner().invoke(main, ["serve", "--latency", curve, *options])
    assert result.exit_code == 2
    assert message in result.output
