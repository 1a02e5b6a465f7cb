"""What is logged about the folder of a repository: server/repository/disk_log.py."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.repository.serving_toml import ServingFacts
from model.repository.snapshot import ModelOnDisk, VersionOnDisk
from server.repository.disk_log import DiskLog
from tests.fakes.server import Log

DIFFERS = "differs from manifest.json: a is missing"


def pets(reason: str = "", problem: str = "") -> ModelOnDisk:
    """Return a model with version 1, which is incomplete if there is a *reason*."""
    version = VersionOnDisk(1, Path(), "a", 1, complete=not reason, reason=reason)
    return ModelOnDisk("pets", (version,), ServingFacts(), "", problem)


BROKEN = pets(problem="pets/serving.toml: not TOML")
OTHER = pets(problem="pets/serving.toml: weight: expected a number")


@pytest.mark.parametrize(
    ("reads", "lines"),
    [
        ([pets(), pets()], []),
        (
            [BROKEN, BROKEN, OTHER, pets(), pets(), BROKEN],
            [
                BROKEN.problem,
                OTHER.problem,
                f"mended: {OTHER.problem}",
                BROKEN.problem,
            ],
        ),
        # Two reads in a row: while files are copied, each has another reason.
        ([pets(DIFFERS), pets("b"), pets(DIFFERS), pets("b")], []),
        ([pets(DIFFERS)] * 4 + [pets()], [f"pets/1 is incomplete: {DIFFERS}"]),
        (
            [pets(DIFFERS)] * 2 + [pets("holds no files")] * 3,
            [f"pets/1 is incomplete: {DIFFERS}", "pets/1 is incomplete: holds no files"],
        ),
        ([pets("waits for its files to be unchanged for 4 s")] * 3, []),
    ],
)
def test_a_problem_is_logged_once_when_it_appears(
    log: Log, reads: list[ModelOnDisk], lines: list[str]
) -> None:
    """And once when it is mended."""
    disk_log = DiskLog()
    for model in reads:
        disk_log.update({"pets": model}, frozenset())
    assert log.lines() == lines


def test_a_model_that_is_deleted_is_not_mended(log: Log) -> None:
    """Its problem is gone with it."""
    disk_log = DiskLog()
    for disk in ({"pets": BROKEN}, {}, {"pets": replace(BROKEN, problem="")}):
        disk_log.update(disk, frozenset())
    assert log.lines() == [BROKEN.problem]


def test_a_name_that_is_ignored_is_logged_once(log: Log) -> None:
    """With what a name has to be."""
    disk_log = DiskLog()
    for names in ({"pets/v2"}, {"pets/v2", "two words"}, {"two words"}):
        disk_log.update({}, names)
    assert [line.partition(" is ignored: the name of a model has ")[0] for line in log.lines()] == [
        "'pets/v2'",
        "'two words'",
    ]
