"""`python -m benchmarks.sleeping`: a model that sleeps, served over a socket and loaded."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import orjson
import pytest

from tests.integration.clients import get, mean_rows, post, post_all
from tests.integration.servers import run_program, serving

pytestmark = pytest.mark.full

SLEEPING = (sys.executable, "-P", "-m", "benchmarks.sleeping")

#: Seconds of a run of one row, and how many there is room for, which take twice as long.
ONE, ROOM = 0.02, 8


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server without settings for its model."""
    folder = tmp_path_factory.mktemp("sleeping")
    curve = folder / "curve.json"
    curve.write_text(json.dumps({"1": ONE, str(ROOM): 2 * ONE}))
    command = (*SLEEPING, "serve", "--latency", str(curve))
    with serving(cache_home=folder, folder=folder, command=command) as server:
        yield server.port


def test_the_curve_is_learned_as_that_of_any_model(port: int) -> None:
    """To 50 %, on a machine that other programs use; and the largest batch."""
    assert post(port, b"x").status == 200
    (queue,) = orjson.loads(get(port, "/debug/batcher").body)["queues"]
    assert queue["cap"] == ROOM
    assert queue["run_ms"]["1"] == pytest.approx(1e3 * ONE, rel=0.5)
    assert queue["run_ms"][str(ROOM)] == pytest.approx(2e3 * ONE, rel=0.5)


def test_a_run_takes_as_long_as_the_curve_says(port: int) -> None:
    """Never less, and Server-Timing shows it."""
    answers = [post(port, b"x" * size) for size in range(9)]
    assert [orjson.loads(answer.body)["n"] for answer in answers] == list(range(9))
    assert all(answer.seconds >= ONE for answer in answers)
    seen = [timing(answer.headers["server-timing"], "run") for answer in answers]
    assert median(seen) == pytest.approx(ONE, rel=0.5)


def timing(header: str, part: str) -> float:
    """Return the seconds of *part* in a Server-Timing *header*."""
    found = re.search(rf"{part};dur=([0-9.]+)", header)
    assert found is not None
    return float(found[1]) / 1e3


def test_each_of_many_clients_gets_its_own_answer(port: int) -> None:
    """Though their rows run together."""
    answers = post_all(port, [b"x" * size for size in range(200)], 16)
    assert [orjson.loads(answer.body)["n"] for answer in answers] == list(range(200))
    assert mean_rows(answers) > 4


def test_a_quick_measurement_prints_its_table_and_keeps_it(tmp_path: Path) -> None:
    """Of one part, in a minute; bounds may be missed on a machine that other programs use."""
    file = tmp_path / "sleeping.json"
    program = (*SLEEPING, "run", "--quick", "--only", "overload", "--json", str(file))
    done = run_program(program, cache_home=tmp_path, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("overload: a run of b rows takes 20 + 4 b ms, b <= 16")
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert list(kept) == ["what", "commit", "date", "machine", "terms", "overload"]
    assert len(kept["overload"]) == 10
    assert all(goodput > 0 for row in kept["overload"] for goodput in row["goodput"])


def test_two_models_share_a_lane_by_their_weights(tmp_path: Path) -> None:
    """One is flooded, the other ten times as fast; the shares are within 10 % on a busy machine."""
    file = tmp_path / "shares.json"
    program = (
        sys.executable,
        "-P",
        "-m",
        "benchmarks.shares",
        "--seconds",
        "3",
        "--json",
        str(file),
    )
    done = run_program(program, cache_home=tmp_path, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert [row["weights"] for row in rows] == ["1:1", "1:3", "3:1"]
    assert all(0.9 < row["slow_share_to_weight"] < 1.1 for row in rows), rows
