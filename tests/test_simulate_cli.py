"""The command line of the simulator: scripts/simulate.py and scripts/simulation/."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from scripts.cli import main

#: One byte more than the largest file of arrivals.
TOO_MANY = 32_000_001


def output_of(*arguments: object) -> tuple[int, str]:
    """Return the exit code and the output of the command."""
    result = CliRunner().invoke(main, ["simulate", *map(str, arguments)])
    return result.exit_code, result.output


def figures(*arguments: object) -> dict[str, Any]:
    """Return the JSON output of the command."""
    code, output = output_of("--json", *arguments)
    assert code == 0, output
    found: dict[str, Any] = json.loads(output)
    return found


@pytest.fixture
def curve(tmp_path: Path) -> Path:
    """Return a file of latencies: 1 s a run and 0.25 s a row, to four rows."""
    path = tmp_path / "curve.json"
    path.write_text('{"1": 1.25, "2": 1.5, "4": 2.0}')
    return path


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--latency", "none"], "Invalid value for '--latency': "),
        (["--latency", "bad.json"], "--latency: bad.json: expected seconds by rows"),
        (["--latency", "bad.json", "--profile", "gpu"], "--latency and --profile exclude"),
        (["--profile", "tpu"], "Invalid value for '--profile': "),
        (["--load", "0"], "Invalid value for '--load': "),
        (["--load", "nan"], "Invalid value for '--load': "),
        (["--load", "inf"], "Invalid value for '--load': expected a finite number"),
        (["--load", "1e308"], "the requests per second must be a finite number"),
        (["--loads", "0.3,-1"], "Invalid value for '--loads': "),
        (["--loads", ""], "Invalid value for '--loads': "),
        (["--load", "0.3", "--loads", "0.3"], "give one of --load, --loads and --rate"),
        (["--rate", "-3/s"], "Invalid value for '--rate': "),
        (["--rate", "3/m"], "Invalid value for '--rate': "),
        (["--rate", "1e-300"], "20,000 requests in "),
        (["--rate", "0.1", "--arrivals", "mmpp"], "at 0.1/s bursts of 0.0624 s make no difference"),
        (["--requests", "0"], "Invalid value for '--requests': "),
        (["--arrivals", "closed", "--load", "1"], "a closed loop makes its own load"),
        (["--arrivals", "closed", "--clients", "0"], "Invalid value for '--clients': "),
        (["--arrivals", "closed", "--think", "1e9s"], "Invalid value for '--think': "),
        (["--arrivals", "closed", "--think", "9999999h"], "20,000 requests in "),
        (["--clients", "3"], "--clients and --think need --arrivals closed"),
        (["--think", "0s"], "--clients and --think need --arrivals closed"),
        (["--arrivals", "none"], "--arrivals: neither poisson, mmpp, closed nor a file of"),
        (["--arrivals", "."], "--arrivals: neither poisson, mmpp, closed nor a file of"),
        (["--arrivals", "bad.json"], "--arrivals: neither poisson, mmpp, closed nor a file of"),
        (["--arrivals", "large"], "--arrivals: neither poisson, mmpp, closed nor a file of"),
        (["--arrivals", "once", "--load", "1"], "the file of arrivals has no rate to change"),
        (["--lanes", "0"], "Invalid value for '--lanes': "),
        (["--slo", "0"], "Invalid value for '--slo': "),
        (["--noise", "nan"], "Invalid value for '--noise': "),
        (["--noise", "3"], "Invalid value for '--noise': "),
        (["--policy", "best"], "--policy: expected auto, greedy or fixed:ROWS,SECONDS"),
        (["--policy", "fixed:0,0"], "--policy: expected auto, greedy or fixed:ROWS,SECONDS"),
        (["--policy", "fixed:8"], "--policy: expected auto, greedy or fixed:ROWS,SECONDS"),
        (["--policy", "fixed:8,inf"], "--policy: expected auto, greedy or fixed:ROWS,SECONDS"),
        (["--png", "a.png"], "--png draws several loads: give --loads"),
        (["--png", "no/a.png", "--loads", "1"], "--png needs an existing folder"),
        (["--png", ".", "--loads", "1"], "Invalid value for '--png': "),
    ],
)
def test_wrong_options_are_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], problem: str
) -> None:
    """With exit code 2, before the simulation."""
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text("[]")
    Path("once").write_text("1\n1\n1\n")
    with Path("large").open("wb") as large:
        large.truncate(TOO_MANY)
    code, output = output_of(*arguments)
    assert code == 2
    (line,) = output.splitlines()
    assert line.startswith(f"Error: {problem}")


def test_help_states_the_purpose() -> None:
    """With exit code 0."""
    code, output = output_of("--help")
    assert code == 0
    assert "What would my p99 be at 300/s?" in output


@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "mean"),
    [
        (["--profile", "gpu", "--policy", "greedy", "--load", "0.5"], 8.79),
        (["--profile", "gpu", "--policy", "greedy", "--load", "0.9"], 13.68),
        (["--profile", "pad", "--policy", "fixed:64,0", "--load", "0.1"], 6.56),
        (["--profile", "cpu", "--policy", "fixed:1,0", "--load", "0.1"], 14.92),
    ],
)
def test_the_mean_is_that_of_the_theory(arguments: list[str], mean: float) -> None:
    """For Poisson arrivals and a policy that never waits, which can be computed exactly."""
    assert figures("--requests", 20_000, *arguments)["mean_ms"] == pytest.approx(mean, rel=0.03)


def test_equal_seeds_have_equal_figures_and_others_do_not() -> None:
    """On any machine and in any process."""
    asked = ("--requests", 2000, "--arrivals", "mmpp", "--policy", "fixed:32,2ms")
    assert figures(*asked, "--seed", 3) == figures(*asked, "--seed", 3)
    assert figures(*asked, "--seed", 3) != figures(*asked, "--seed", 4)


def test_a_rate_is_a_load(curve: Path) -> None:
    """As a share of the best rate of all lanes: here four rows in 2 s, on two lanes."""
    rate = figures("--latency", curve, "--lanes", 2, "--rate", "3/s", "--requests", 200)
    load = figures("--latency", curve, "--lanes", 2, "--load", 0.75, "--requests", 200)
    assert rate == load
    assert rate["load"] == 0.75


def test_a_closed_loop_has_its_own_rate(curve: Path) -> None:
    """Two clients take turns, or share each run."""
    asked = ("--latency", curve, "--arrivals", "closed", "--clients", 2, "--noise", 0)
    greedy = figures(*asked, "--requests", 500, "--policy", "greedy")
    assert (greedy["load"], greedy["mean_ms"], greedy["mean_rows"]) == (None, 2500.0, 1.0)
    shared = figures(*asked, "--requests", 500, "--policy", "fixed:2,1", "--tune")
    assert (shared["mean_ms"], shared["mean_rows"]) == (1500.0, 2.0)
    assert shared["rate"] == pytest.approx(2 / 1.5, rel=0.01)
    assert shared["tuned"]["max_batch"] == 2
    paused = figures(*asked, "--requests", 500, "--policy", "fixed:2,1", "--think", "1.5s")
    assert paused["rate"] == pytest.approx(2 / 3, rel=0.01)


def test_arrivals_are_read_from_a_file(curve: Path, tmp_path: Path) -> None:
    """All at their own rate, at another rate, or the first of them."""
    path = tmp_path / "times"
    path.write_text("".join(f"{number * 2}\n" for number in range(100)))
    asked = ("--latency", curve, "--arrivals", path, "--noise", 0)
    own = figures(*asked)
    assert (own["requests"], own["load"], own["mean_ms"]) == (80, 0.25, 1250.0)
    assert figures(*asked, "--load", 0.5)["offered"] == pytest.approx(80 / 79)
    assert figures(*asked, "--requests", 10)["requests"] == 8
    path.write_text("1\n1\n")
    assert figures(*asked)["load"] is None


def test_tuning_finds_the_best_fixed_setting() -> None:
    """At least as good as other settings, for the same arrivals."""
    asked = ("--requests", 1500, "--load", 0.7)
    best = figures(*asked, "--profile", "cpu", "--tune")["tuned"]
    assert best["timeout_ms"] == 0.0
    for rows in (1, 2, 8, 32):
        other = figures(*asked, "--profile", "cpu", "--policy", f"fixed:{rows},0")
        assert best["mean_ms"] <= other["mean_ms"]
        if rows == best["max_batch"]:
            assert best["mean_ms"] == other["mean_ms"]


@pytest.mark.parametrize("more", [("--lanes", 2), ("--slo", "8ms")])
def test_tuning_respects_lanes_and_the_slo(more: tuple[object, ...]) -> None:
    """The share of answers in time is compared before the mean."""
    asked = ("--requests", 60, "--load", 0.5, "--tune", *more)
    found = figures(*asked)
    assert found["tuned"]["goodput_share"] >= found["goodput_share"] - 0.001


def test_a_load_that_cannot_be_served_is_simulated_with_a_warning() -> None:
    """Its latencies depend on the number of requests."""
    code, output = output_of("--load", 1.25, "--requests", 600)
    assert code == 0
    assert "warning: auto, load 1.25: more arrive than can be served" in output
    assert "can be served; latencies grow with --requests" in " ".join(output.split())
    assert "warning: p99 of only 480 requests is not reliable" in output
    _, output = output_of("--load", 1.25, "--requests", 6000, "--slo", "50ms")
    assert "more arrive than can be served; the rest is refused" in " ".join(output.split())
    assert figures("--load", 1.25, "--requests", 600)["stable"] is False
    assert figures("--load", 0.7, "--requests", 600, "--policy", "fixed:8,0")["stable"] is False
    assert figures("--load", 0.7, "--requests", 600)["stable"] is True


def test_several_loads_are_rows_and_a_plot(tmp_path: Path) -> None:
    """As JSON, a list."""
    asked = ("--loads", "0.1,0.5", "--requests", 100, "--tune", "--slo", "50ms")
    found = figures(*asked, "--png", tmp_path / "plot")
    assert [row["load"] for row in found["loads"]] == [0.1, 0.5]
    assert found["loads"][0]["mean_ms"] < found["loads"][1]["mean_ms"]
    with Image.open(tmp_path / "plot") as image:
        assert image.format == "PNG"
    code, output = output_of("--loads", "0.1,0.5", "--requests", 600)
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()[3:5]] == ["0.1", "0.5"]


def test_policies_are_compared_under_the_same_workload(tmp_path: Path) -> None:
    """Each has a row and figures of its own, in the given order."""
    asked = ("--requests", 600, "--policy", "greedy", "--policy", "fixed:8,0")
    found = figures(*asked, "--loads", "0.1,0.5", "--tune", "--png", tmp_path / "plot")["loads"]
    assert [(row["load"], row["policy"]) for row in found] == [
        *((0.1, "greedy"), (0.1, "fixed:8,0")),
        *((0.5, "greedy"), (0.5, "fixed:8,0")),
    ]
    assert ["tuned" in row for row in found] == [False, True, False, True]
    assert found[0] == figures("--requests", 600, "--policy", "greedy", "--load", 0.1)
    code, output = output_of(*asked, "--load", 0.7)
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()[3:5]] == ["0.7", "fixed:8,0"]
    assert "warning: fixed:8,0, load 0.7: more arrive" in output


def test_there_are_figures_without_answers_in_time(tmp_path: Path) -> None:
    """There are no latencies, and nothing to plot."""
    asked = ("--slo", "1ms", "--requests", 50)
    found = figures("--loads", "0.5", *asked, "--png", tmp_path / "plot")["loads"][0]
    assert (found["mean_ms"], found["p99_ms"], found["goodput"]) == (None, None, 0.0)
    code, output = output_of(*asked)
    assert code == 0
    assert "0.0%" in output
