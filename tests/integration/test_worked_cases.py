"""
docs/operations.md: its cases, followed on real servers with each fault, by Prometheus and the log.

Prometheus scrapes the server and evaluates the expressions of the page, with shorter windows.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import pytest

from tests.integration.faults import Load, image, loaded, row, serving_faulty, set_weight
from tests.integration.faulty_server import FaultyModel
from tests.integration.prometheus import (
    SCRAPE_INTERVAL,
    Prometheus,
    alerts,
    needs_prometheus,
    scraping,
)
from tests.integration.servers import ROOT, Server, wait_for

pytestmark = [pytest.mark.full, needs_prometheus]

PAGE = (ROOT / "docs" / "operations.md").read_text()

#: How often a healthy server is looked at.
POLLS = 16

#: The windows of the expressions in these tests: a few scrapes.
WINDOW = "[5s]"

#: The models of each server, so that a fault of one is seen beside others.
MODELS = {
    "slow": FaultyModel(run_seconds=0.005),
    "photos": FaultyModel(run_seconds=0.005, takes_images=True),
    "heavy": FaultyModel(run_seconds=0.05),
    "light": FaultyModel(run_seconds=0.05),
}

#: The weights with which others wait while the model heavy is loaded.
WEIGHTS = {"heavy": 50.0}


def section(title: str) -> str:
    """Return the text of the section *title* of the page."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    """Return the lines of all code blocks of *language* in *text*."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in found for line in block.splitlines()]


def short(expression: str) -> str:
    """Return *expression* with windows that fit the time of a test."""
    return re.sub(r"\[\d+[smh]\]", WINDOW, expression)


def shape(line: str) -> str:
    """Return a line of the log without its numbers, its id, and how full its batch was."""
    line = re.sub(r"slow request \w+:", "slow request ID:", line)
    line = re.sub(r"batch \d+/\d+ [\w-]+", "batch N", line)
    return re.sub(r"\d+(\.\d+)?", "N", line)


@dataclass(frozen=True)
class Case:
    """A case of the page: the fault, the alert, and what its log lines must show."""

    begin: Callable[[Load], None]  #: adds the clients that cause the fault
    is_cause: Callable[[Mapping[str, float]], bool]  #: of the phases of a slow request, in ms
    alert: str | None = None  #: the alert whose expression has a result
    weights: Mapping[str, float] | None = None


def slow_batches(load: Load) -> None:
    """Let one of 40 requests of each client take 0.8 s."""
    load.add(2, "slow", *[row(0)] * 39, row(0.8))


def stuck_pool(load: Load) -> None:
    """Let an image block the only decode thread, while another model is used."""
    load.add(1, "photos", image(12))
    load.add(2, "photos", image(0.01))
    load.add(1, "slow", row(0))


def starvation(load: Load) -> None:
    """Flood the model with the high weight, and use another one."""
    load.add(5, "heavy", row(0))
    load.add(2, "light", row(0))


CASES = {
    "A slow batch": Case(slow_batches, lambda ms: ms.get("run", 0) > 500),
    "A stuck decode pool": Case(
        stuck_pool, lambda ms: ms.get("decode", 0) > 5000, "TensorFerryDecodePoolStuck"
    ),
    "A starved model": Case(
        starvation,
        lambda ms: ms.get("queue", 0) > 300 > ms.get("run", 0),
        "TensorFerryModelStarved",
        WEIGHTS,
    ),
}


@contextmanager
def observed(
    folder: Path, weights: Mapping[str, float] | None = None
) -> Iterator[tuple[Server, Prometheus]]:
    """Serve the models with their *weights*, and scrape them."""
    with (
        serving_faulty(folder, MODELS, weights) as server,
        scraping(server.port, folder) as prometheus,
    ):
        yield server, prometheus


def met(prometheus: Prometheus, expressions: Sequence[str]) -> list[str]:
    """Return those of *expressions* that have a result."""
    return [each for each in expressions if prometheus.query(short(each))]


def shown_cases(prometheus: Prometheus) -> set[str]:
    """Return the cases all of whose expressions have a result."""
    steps = {title: blocks(section(title), "promql") for title in CASES}
    return {title for title, each in steps.items() if met(prometheus, each) == each}


def is_alone(title: str, prometheus: Prometheus) -> bool:
    """Return whether the case *title* is shown; fail if another one is."""
    shown = shown_cases(prometheus)
    assert shown <= {title}
    return bool(shown)


def firing(prometheus: Prometheus) -> set[str]:
    """Return the alerts whose expressions have a result."""
    return {name for name, rule in alerts().items() if prometheus.query(short(rule["expr"]))}


def slow_phases(log: str, model: str) -> list[dict[str, float]]:
    """Return the phases in ms of each slow request for *model* in *log*."""
    found = re.findall(rf"slow request .* \((.*)\); model {model}/", log)
    return [
        {name: float(ms) for name, ms in re.findall(r"([a-z][a-z ]*) ([\d.]+)", it)} for it in found
    ]


@pytest.mark.parametrize("title", CASES)
def test_the_steps_of_a_case_find_its_fault(title: str, tmp_path: Path) -> None:
    """Each expression has a result, no other case fits, and a log line shows the cause."""
    case = CASES[title]
    with observed(tmp_path, case.weights) as (server, prometheus):
        with loaded(server.port) as load:
            case.begin(load)
            wait_for(lambda: is_alone(title, prometheus), title)
            if case.alert is not None:
                wait_for(lambda: case.alert in firing(prometheus), case.alert)
        assert {answer.status for answer in load.answers} == {200}
        (sample,) = blocks(section(title), "text")
        model = sample.partition("; model ")[2].partition("/")[0]
        wait_for(
            lambda: any(map(case.is_cause, slow_phases(server.log, model))), "line with the cause"
        )
        assert shape(sample) in {
            shape(line[line.index("slow request") :])
            for line in server.log.splitlines()
            if "slow request" in line
        }


def test_a_healthy_server_has_no_case(tmp_path: Path) -> None:
    """With requests for all models, neither the first step of a case nor an alert has a result."""
    symptoms = {title: blocks(section(title), "promql")[0] for title in CASES}
    found: Counter[str] = Counter()
    with observed(tmp_path) as (server, prometheus), loaded(server.port) as load:
        for model in ("slow", "heavy", "light"):
            load.add(1, model, row(0))
        load.add(1, "photos", image(0.005))
        for _ in range(POLLS):
            sleep(SCRAPE_INTERVAL)
            found.update(title for title, it in symptoms.items() if met(prometheus, [it]))
            found.update(firing(prometheus))
    assert {answer.status for answer in load.answers} == {200}
    # The machine may stall for a moment, but a fault is there at every poll.
    assert [each for each, count in found.items() if count > POLLS / 2] == []


def test_the_remedy_of_a_starved_model_helps(tmp_path: Path) -> None:
    """With equal weights its requests wait no longer, while the load is the same."""
    with observed(tmp_path, WEIGHTS) as (server, prometheus), loaded(server.port) as load:
        starvation(load)
        wait_for(lambda: "TensorFerryModelStarved" in firing(prometheus), "starved model")
        set_weight(tmp_path, "heavy", 1.0)
        wait_for(lambda: "TensorFerryModelStarved" not in firing(prometheus), "help")
