"""The server held against itself: benchmarks/sleeping.py and its parts, without a socket."""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click import UsageError
from click.testing import CliRunner

from batcher.errors import OutOfMemory
from benchmarks import sleeping_page
from benchmarks.machine import this_machine
from benchmarks.sleeping import kept_beside, main, with_part
from benchmarks.sleeping_model import SleepingRunner, sleeping_loader
from benchmarks.sleeping_page import (
    Bar,
    best_fixed,
    between_runs,
    closed_bars,
    gains,
    grid_bars,
    longest_between_runs,
    overload_bars,
    ratio,
    ratio_error,
)
from benchmarks.sleeping_plan import QUICK, SLOW, Fixed, finalists, greedy, grid, that_carry
from benchmarks.sleeping_runs import Extent, Part, Rounds, arriving, figures_of, in_turn
from model.backends.null import LENGTHS
from model.signature import STRING, Feed
from scripts.load.summary import Summary
from scripts.simulation.service import Service
from server.settings.table import Settings
from tests.bench_samples import sleeping
from tests.fakes.model import check_runner

KEPT = sleeping()
AT_ONCE = Service("at once", (0.0, 0.0, 0.0, 0.0), (1, 3))


# --- what is measured


def test_the_grid_has_four_delays_for_each_power_of_two() -> None:
    """The delays in runs of one row."""
    settings = grid(SLOW)
    assert len(settings) == len(set(settings)) == 24
    assert [it.rows for it in settings[::4]] == [1, 2, 4, 8, 16, 32]
    assert [it.delay_ms for it in settings[:4]] == [0.0, 11.0, 22.0, 44.0]
    assert settings[1].options == ("--max-batch-size", "1", "--max-queue-delay-ms", "11")


@pytest.mark.parametrize(("share", "sizes"), [(0.3, {4, 8, 16, 32}), (0.6, {16, 32}), (0.9, {32})])
def test_what_cannot_keep_up_is_not_tried(share: float, sizes: set[int]) -> None:
    """Its latencies would say nothing but how long it was loaded."""
    assert {it.rows for it in that_carry(grid(SLOW), SLOW, share)} == sizes


def test_greedy_takes_up_to_the_true_knee_and_never_waits() -> None:
    """Not what a warm-up takes for it."""
    assert greedy(QUICK) == Fixed(64, 0.0)


def test_only_what_is_close_to_the_best_is_tried_again() -> None:
    """The best first, and no more than a few; what has no answers is not."""
    means: dict[Fixed, float | None] = {
        Fixed(rows, 0.0): mean
        for rows, mean in enumerate([11.4, None, 10.0, 11.6, 10.1, 10.2, 10.3, 10.4], 1)
    }
    assert [it.rows for it in finalists(means)] == [3, 5, 6, 7, 8]
    assert [it.rows for it in finalists({Fixed(1, 0.0): 11.4, Fixed(2, 0.0): 11.6})] == [1, 2]
    assert [it.rows for it in finalists({Fixed(1, 0.0): 10.0, Fixed(2, 0.0): 11.6})] == [1]
    assert finalists({Fixed(1, 0.0): None}) == []


def test_rounds_go_forwards_and_backwards() -> None:
    """So that nobody is always the last."""
    assert [in_turn([1, 2, 3], number) for number in (0, 1, 2)] == [[1, 2, 3], [3, 2, 1], [1, 2, 3]]


def test_a_quick_measurement_has_one_short_round() -> None:
    """And what is short stays as short."""
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
    """What was refused at once apart from what was given up."""
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


def test_a_part_takes_the_place_of_an_older_one() -> None:
    """The others stay as they are, in the order of the page."""
    kept = with_part(KEPT, "grid", Part({"rounds": 1}, [{"load": 0.5}]))
    assert list(kept) == list(KEPT)
    assert kept["grid"] == [{"load": 0.5}]
    assert kept["terms"] == {**KEPT["terms"], "grid": {"rounds": 1}}
    assert kept["overload"] == KEPT["overload"]
    assert list(with_part({}, "closed", Part({}, []))) == ["what", "machine", "terms", "closed"]


def test_parts_of_different_machines_are_not_kept_together(tmp_path: Path) -> None:
    """The page has one machine for all of them."""
    file = tmp_path / "sleeping.json"
    assert kept_beside("grid", file) == {}
    file.write_text(json.dumps({**KEPT, "machine": this_machine()}), encoding="utf-8")
    assert kept_beside("grid", file)["closed"] == KEPT["closed"]
    assert kept_beside(None, file) == {}
    file.write_text(json.dumps({**KEPT, "machine": {"cpu": "another"}}), encoding="utf-8")
    with pytest.raises(UsageError, match="closed and overload of another machine"):
        kept_beside("grid", file)
    assert kept_beside(None, file) == {}


# --- whether it is as good as it is to be


@pytest.mark.parametrize(
    ("value", "least", "text"),
    [
        (1.3, True, "x: 1.300, at least 1.30: holds"),
        (1.29, True, "x: 1.290, at least 1.30: **missed**"),
        (1.3, False, "x: 1.300, at most 1.30: holds"),
        (1.31, False, "x: 1.310, at most 1.30: **missed**"),
        (None, False, "x: -, at most 1.30: **missed**"),
    ],
)
def test_a_bar_is_missed_by_what_was_not_measured(
    value: float | None, text: str, *, least: bool
) -> None:
    """And held by what is just as it is to be."""
    assert str(Bar("x", value, 1.3, least)) == text


@pytest.mark.parametrize(("value", "verdict"), [(1.3, "holds"), (1.29, "**missed**")])
def test_an_error_is_told_and_excuses_nothing(value: float, verdict: str) -> None:
    """However large it is."""
    said = f"x: {value:.3f} ± 0.100, at least 1.30: {verdict}"
    assert str(Bar("x", value, 1.3, error=0.1)) == said


def test_the_error_of_a_ratio_is_how_its_rounds_scatter() -> None:
    """Of one round nothing is known."""
    ours, theirs = {"x": [2.0, 4.0, None]}, {"x": [1.0, 1.0, 1.0]}
    assert ratio_error(ours, theirs, "x") == pytest.approx(1.25)
    assert ratio_error({"x": [2.0]}, theirs, "x") is None


def test_a_ratio_is_the_median_of_those_of_each_round() -> None:
    """Rounds that one of the two has no figure of tell nothing."""
    ours, theirs = {"x": [2.0, 9.0, None, 4.0]}, {"x": [1.0, 3.0, 5.0, 0.0, 7.0]}
    assert ratio(ours, theirs, "x") == 2.5
    assert ratio(ours, {"x": []}, "x") is None


def test_the_best_fixed_setting_was_tried_in_all_rounds() -> None:
    """A lucky first one is not enough."""
    best = best_fixed([{**KEPT["grid"][1], "mean_ms": [1.0]}, *KEPT["grid"]], 0.6)
    assert best is KEPT["grid"][2]
    assert best_fixed(KEPT["grid"], 0.9) is None


def test_the_server_without_flags_is_held_against_the_best_of_each_load() -> None:
    """Where nothing else was measured, the bar is missed."""
    (bar,) = grid_bars(KEPT["grid"])
    assert bar.value == pytest.approx(1.1)
    assert not bar.holds
    assert [bar.value for bar in grid_bars(KEPT["grid"][:1])] == [None]


def test_a_few_clients_are_to_gain_and_none_to_lose() -> None:
    """The least of both counts; its error is told beside it."""
    assert {count: gain.ratio for count, gain in gains(KEPT["closed"]).items()} == {
        1: 1.025,
        8: pytest.approx(11.5 / 7),
    }
    few, each = closed_bars(KEPT["closed"])
    assert few.value == pytest.approx(11.5 / 7)
    assert few.error == pytest.approx(0.446, abs=0.001)
    assert few.holds
    assert (each.value, each.holds) == (1.025, True)


def test_the_time_between_runs_is_told_beside_what_it_may_be() -> None:
    """8 clients: rides of 8 rows take 4.8 ms; of what is between them, the middle of the rounds."""
    ours = next(row for row in KEPT["closed"] if (row["clients"], row["policy"]) == (8, "auto"))
    each = [8 / 0.9 - 4.8, 8 / 1.4 - 4.8]
    terms = KEPT["terms"]["closed"]
    assert between_runs(ours, terms) == pytest.approx(sum(each) / 2)
    assert longest_between_runs(8, 1000.0, terms) == pytest.approx(8.0 - 4.8)
    assert longest_between_runs(8, None, terms) is None
    assert between_runs({"rate": [0.0], "mean_rows": [0.0]}, terms) is None


def test_what_is_possible_under_overload_is_what_came_where_that_was_less() -> None:
    """In each round by itself; of the refusals the latest count."""
    poisson, bursts, refused = overload_bars(KEPT["overload"], KEPT["terms"]["overload"])
    assert poisson.value == pytest.approx(0.95)
    assert poisson.holds
    assert bursts.value == pytest.approx(0.65)
    assert not bursts.holds
    assert (refused.value, refused.holds) == (4.0, True)


def test_the_page_tells_of_all_three_and_whether_they_hold() -> None:
    """A part that was not measured is left out."""
    text = sleeping_page.section(KEPT)
    assert text.count(": holds") == 4
    assert text.count("**missed**") == 2
    assert "| **60 %** | **no flags** | **38.5** | **1.100** |" in text
    assert "| 60 % | 2 others, one round |  | 1.30 to 2.00 |" in text
    assert "| 8 | 1,150 | 700 | 1.643 | 0.446 | 8.00 | 8.00 | 2.50 | 3.99 | 0.50 | 0.50 |" in text
    assert "| poisson | 120 % | 160 | 131 | 0.950 | 492 | 10 | 4.00 | 0 | 15.5 |" in text
    assert "### " not in sleeping_page.section({"terms": {}})


# --- the model and its server


def feed(*bodies: bytes) -> Feed:
    """Return *bodies*, one a row."""
    return LENGTHS.feed({"body": np.array(bodies, STRING)})


def test_the_sleeping_model_is_a_runner_with_room_for_its_curve() -> None:
    """More rows than the curve knows do not fit into memory."""
    runner = SleepingRunner(AT_ONCE)
    check_runner(runner, feed(b"a", b"", b"abc"))
    with pytest.raises(OutOfMemory):
        runner.run(feed(b"", b"", b"", b""))
    runner.close()


@pytest.mark.parametrize(("asked", "lanes"), [(None, 1), (3, 3)])
def test_it_is_loaded_for_one_lane_unless_more_are_asked_for(asked: int | None, lanes: int) -> None:
    """Under its name."""
    said: list[str] = []
    loaded = sleeping_loader(AT_ONCE)(Settings(lanes=asked), said.append)
    assert (loaded.name, loaded.lanes, said) == ("sleeping", lanes, ["loading the sleeping model"])


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
    """Whatever the variables of the server say."""
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
    ("content", "options", "said"),
    [
        ("{}", (), "expected seconds by rows"),
        ('{"1": 0.02}', ("--max-batch-size", "many"), "--max-batch-size"),
    ],
)
def test_what_cannot_be_served_is_told_at_once(
    content: str, options: tuple[str, ...], said: str, curve: str
) -> None:
    """Curves and settings alike."""
    Path(curve).write_text(content)
    result = CliRunner().invoke(main, ["serve", "--latency", curve, *options])
    assert result.exit_code == 2
    assert said in result.output
