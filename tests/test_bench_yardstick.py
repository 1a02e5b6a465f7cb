"""Results of a yardstick, trimmed and asked: benchmarks/yardstick.py."""

import json

import pytest

from benchmarks.yardstick import NGINX, OFFLINE, OURS, Point, Yardstick, noisy, trimmed
from tests.bench_samples import RESULT, opened, run

KEPT = trimmed(RESULT)
YARDSTICK = Yardstick(KEPT)


def test_what_is_kept_names_no_path_and_no_host() -> None:
    """Settings, options and messages of failures hold some."""
    text = json.dumps(KEPT)
    assert "/" not in text
    assert "some" not in text
    assert KEPT["machine"]["kernel"] == "6.1"
    assert KEPT["failed"] == ["slow net"]


def test_a_point_has_a_row_with_an_item_for_each_round() -> None:
    """Our server has its name, and trouble that there was none of is left out."""
    assert YARDSTICK.row("A", OURS, 64) == {
        "workload": "A", "peer": OURS, "point": 64, "round": [0, 1], "rate": [2000.0, 4000.0],
        "p50": [10.0, 10.0], "p99": [20.0, 20.0], "cpu_per_1000": [1.5, 1.5],
        "other_cores": [0.1, 0.1],
    }  # fmt: skip
    assert YARDSTICK.row("A", "quick", 64)["errors"] == [0, 1]
    assert YARDSTICK.row("A", "quick", 8) == {}


def test_what_is_kept_can_be_trimmed_of_nothing_when_read_back() -> None:
    """JSON keeps the points apart: numbers, shares and names."""
    again = Yardstick(json.loads(json.dumps(KEPT)))
    assert again.points("B") == [1, 32]
    assert again.points("C", OURS) == [0.6, 1.2]
    assert again.points("B", OFFLINE) == ["one 8", "one 32"]


def test_servers_come_fastest_first_and_ceilings_are_none() -> None:
    """By the best of their points."""
    assert YARDSTICK.peers("A") == ["quick", OURS, "slow"]
    assert YARDSTICK.peers("B") == [OURS, "quick"]
    assert YARDSTICK.peers("D") == []


@pytest.mark.parametrize(
    ("workload", "peer", "point", "key", "middle"),
    [
        ("A", OURS, 64, "rate", 3000.0),
        ("A", OURS, 64, "errors", 0),
        ("A", "quick", 64, "errors", 0.5),
        ("A", OURS, 8, "errors", None),
        ("A", OURS, 64, "goodput", None),
        ("C", "quick", 0.6, "p99", None),
    ],
)
def test_a_figure_is_the_median_of_the_rounds(
    workload: str, peer: str, point: Point, key: str, middle: float | None
) -> None:
    """None where there is none; nothing said of trouble means none."""
    assert YARDSTICK.middle(workload, peer, point, key) == middle


def test_a_ratio_is_taken_within_a_round() -> None:
    """A server that only took part in the fast round gains nothing by it."""
    ceiling = YARDSTICK.ceiling("A", 64)
    assert ceiling == (NGINX, 64)
    assert YARDSTICK.ratio("A", 64, "rate", OURS, ceiling) == 0.05
    assert YARDSTICK.ratio("A", 64, "rate", "slow", ceiling) == 500 / 80_000
    assert YARDSTICK.ratio("A", 64, "rate", OURS, (NGINX, 8)) is None


def test_the_ceiling_of_images_is_the_best_offline_loop() -> None:
    """Whatever its arrangement is called; without one there is none."""
    assert YARDSTICK.ceiling("B", 32) == (OFFLINE, "one 8")
    assert YARDSTICK.ceiling("D", 32) == (OFFLINE, None)
    assert YARDSTICK.offered(1.2) == 120.0
    assert YARDSTICK.offered(2.0) is None


@pytest.mark.parametrize(
    ("goodput", "share", "gave_up"),
    [
        ([1.0, 2.0], 1.2, True),
        ([1.0, 3.0], 1.2, False),
        ([1.0, 2.0], 0.6, False),
        ([1.0, 2.0], 0.3, False),
    ],
)
def test_a_server_gave_up_where_it_was_hopeless_at_the_rate_before(
    goodput: list[float], share: float, *, gave_up: bool
) -> None:
    """In every round; else it failed to be measured."""
    runs = [run("C", "quick", 0.6, n, **opened(60.0, good)) for n, good in enumerate(goodput)]
    assert Yardstick(trimmed({**RESULT, "runs": runs})).gave_up("quick", share) is gave_up


def test_the_best_of_the_others_has_the_most_or_the_least() -> None:
    """Never this server itself; where no other was measured there is none."""
    assert YARDSTICK.best_peer("A", 64) == "quick"
    assert YARDSTICK.best_peer("A", 64, least=True) == "slow"
    assert YARDSTICK.best_peer("B", 1) is None


def test_rows_are_noisy_where_others_used_the_machine_in_any_round() -> None:
    """Beyond 0.4 cores."""
    assert noisy(YARDSTICK) == ["A slow 64"]
