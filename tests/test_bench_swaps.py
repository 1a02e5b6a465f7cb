"""The benchmarks of model repositories: swaps*.py, swap_memory.py and repositories.py."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.repositories import place, states
from benchmarks.saved_mlp import BODY, INPUTS, write_golden
from benchmarks.swap_answers import Answers, Expected
from benchmarks.swap_memory import row
from benchmarks.swap_steps import BAD, Step, all_versions
from benchmarks.swaps import figures, is_outside, with_ratios
from scripts.load.exchange import Exchange
from server.golden import read_golden

PATH = b"POST /models/mlp"


def step(began: float, ended: float) -> Step:
    """A step that was done as expected."""
    return Step("swap", began, ended, ended, as_expected=True, stated="serving")


def answer(detail: str, *, due: float = 0.0, took: float = 0.1, status: int = 200) -> Exchange:
    """An exchange of the time *due*, which was sent then."""
    exchange = Exchange(PATH, due, due, lambda _: None)
    exchange.status, exchange.ended, exchange.detail = status, due + took, detail
    return exchange


#: The version of an answer, when its request was sent and when it came; whether that is right.
#: Version 1 serves from 0 s on; 2 may serve from 10 s on, and is known to serve at 12 s.
ANSWERS = [
    (1, 5.0, 5.1, True),
    (2, 5.0, 5.1, False),
    (2, 9.9, 10.1, True),
    (1, 11.0, 13.0, True),
    (2, 11.0, 11.1, True),
    (1, 12.1, 12.2, False),
    (2, 12.1, 12.2, True),
    (3, 12.1, 12.2, False),
]


@pytest.mark.parametrize(("version", "sent", "answered", "right"), ANSWERS)
def test_an_answer_is_right_from_a_version_that_serves_meanwhile(
    version: int, sent: float, answered: float, right: bool
) -> None:
    """While the switch is under way, either version may answer."""
    expected = Expected()
    expected.begins(1, 0.0)
    expected.begins(2, 10.0)
    expected.alone(2, 12.0)
    assert expected.allows(version, sent, answered) == right


def test_failed_late_and_wrong_answers_are_counted() -> None:
    """An answer whose version cannot be read is wrong; a refusal is failed."""
    expected = Expected()
    expected.begins(1, 0.0)
    answers = Answers(0.0, {PATH: expected}, deadline=0.5)
    for exchange in (
        answer('{"outputs":{"y":[1.04]}}'),
        answer('{"outputs":{"y":[0.96]}}', took=0.6),
        answer('{"outputs":{"y":[2.04]}}'),
        answer("html", due=2.0),
        answer("busy", status=503),
        answer("broke", status=0),
    ):
        answers.add(exchange)
    assert (answers.sent, answers.failed, answers.late, answers.wrong) == (6, 2, 1, 2)
    assert answers.wrong_examples[1] == "html to a request at 2.000 s"
    seen = figures("disturbed", answers)
    assert (seen["answers"], seen["p50_ms"], seen["max_ms"]) == (4, 100.0, 600.0)


def test_requests_near_a_step_are_not_outside() -> None:
    """Within 5 s before it begins or after it ends."""
    due = np.array([1.0, 6.0, 12.0, 17.9, 18.1])
    assert is_outside(due, [step(10.0, 13.0)]).tolist() == [True, False, False, False, True]
    assert is_outside(due, []).all()


def test_a_bar_is_relative_to_the_undisturbed_phase() -> None:
    """A phase without answers has no verdict."""
    rows: list[dict[str, Any]] = [
        {"phase": "undisturbed", "p99_ms": 10.0},
        {"phase": "disturbed", "p99_ms": 20.0},
        {"phase": "outside", "p99_ms": 12.5},
        {"phase": "outside", "p99_ms": None},
    ]
    assert [it.get("verdict") for it in with_ratios(rows)] == [None, "holds", "missed", None]


def test_memory_is_compared_without_the_growth_of_tensorflow_alone() -> None:
    """From two swaps on; more than 5 % is flagged."""
    alone = [500.0, 600.0, 610.0]
    assert row("server", [690.0, 700.0, 740.0], alone)["verdict"] == "holds"
    flagged = row("server", [690.0, 700.0, 750.0], alone)
    assert (flagged["verdict"], flagged["growth"]) == ("flagged", "7.1%")
    assert flagged["growth_without_tensorflow"] == "5.7%"


def test_versions_are_placed_whole_with_golden_answers(tmp_path: Path) -> None:
    """No folder is left beside the version."""
    made = tmp_path / "made"
    made.mkdir()
    write_golden(made, 3.0)
    model = tmp_path / "mlp"
    model.mkdir()
    place(made, model / "3")
    assert [it.name for it in model.iterdir()] == ["3"]
    (golden,) = read_golden(model / "3")
    assert golden.expected == {"outputs": {"y": [3.0]}}
    assert json.loads(golden.body) == json.loads(BODY)
    assert len(json.loads(BODY)["inputs"][0]) == INPUTS


def test_each_step_has_a_version_of_its_own() -> None:
    """And the states of all are read by number."""
    assert list(all_versions(2)) == list(range(1, 5 + len(BAD)))
    assert states({"versions": [{"version": "2", "state": "serving"}]}) == {2: "serving"}
