"""Which versions are served, and the next action: model/repository/version_policy.py."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from model.repository.serving_toml import ServingFacts
from model.repository.snapshot import ModelOnDisk, VersionOnDisk
from model.repository.version_policy import (
    Action,
    Held,
    Revision,
    Stage,
    Step,
    Traffic,
    asks_again,
    next_action,
    revision_of,
    traffic,
    wanted,
)

LOADING, LOADED, SERVING, FAILED = Stage.LOADING, Stage.LOADED, Stage.SERVING, Stage.FAILED
DRAINING, DRAINED, UNLOADING = Stage.DRAINING, Stage.DRAINED, Stage.UNLOADING
ALL = ServingFacts(latest=None)
NONE = ServingFacts(latest=None, versions=())


def listed(*versions: int, **labels: int) -> ServingFacts:
    """Return the facts of a list of *versions*."""
    return ServingFacts(latest=None, versions=versions, labels=labels)


def latest(count: int = 1, **labels: int) -> ServingFacts:
    """Return the facts of the newest *count* versions."""
    return ServingFacts(latest=count, labels=labels)


def model_of(
    serving: ServingFacts, *complete: int, incomplete: Sequence[int] = (), name: str = "pets"
) -> ModelOnDisk:
    """Return a model with these versions on disk, each with the stamp "a"."""
    versions = [
        VersionOnDisk(number, Path(), "a", 1, complete=number in complete)
        for number in sorted({*complete, *incomplete})
    ]
    return ModelOnDisk(name, tuple(versions), serving, serving_stamp="s")


def revision(version: int, stamp: str = "a", name: str = "pets") -> Revision:
    """Return the revision of *version* with these files and no options."""
    return Revision(name, version, f"{stamp} None None")


def held(stage: Stage, *versions: int, stamp: str = "a", serving_stamp: str = "s") -> list[Held]:
    """Return *versions* in memory, all in *stage*."""
    return [Held(revision(version, stamp), stage, serving_stamp) for version in versions]


def test_a_revision_differs_with_the_files_and_with_the_options_of_a_load() -> None:
    """A weight is changed while the model is loaded, and a label does not concern its load."""
    model = model_of(latest(), 1)
    (version,) = model.versions
    first = revision_of(model, version)
    assert revision_of(model, replace(version, stamp="b")) != first
    for facts, same in (
        (ServingFacts(max_batch_size=4), False),
        (ServingFacts(max_queue_delay=0.0), False),
        (ServingFacts(weight=2.0), True),
        (ServingFacts(labels={"stable": 1}), True),
    ):
        assert (revision_of(replace(model, serving=facts), version) == first) is same


@pytest.mark.parametrize(
    ("model", "memory", "versions"),
    [
        (None, held(SERVING, 1), []),
        (model_of(latest()), [], []),
        (model_of(latest(), 1, 2, 10), [], [10]),
        (model_of(latest(2), 1, 2, 10), [], [2, 10]),
        (model_of(latest(9), 1, 2), [], [1, 2]),
        (model_of(ALL, 1, 2, 10), [], [1, 2, 10]),
        (model_of(listed(1, 2), 1, 2, 10), [], [1, 2]),
        (model_of(listed(1, 7), 1, 2), [], [1]),
        (model_of(NONE, 1, 2), held(SERVING, 1), []),
        # A label adds its version, except to none.
        (model_of(latest(1, stable=1), 1, 2, 3), [], [1, 3]),
        (model_of(listed(2, stable=1), 1, 2, 3), [], [1, 2]),
        (model_of(latest(1, stable=7), 1, 2), [], [2]),
        (model_of(listed(stable=1), 1, 2), [], []),
        # What is incomplete or has failed leaves its place to an older version.
        (model_of(latest(), 1, 2, incomplete=[3]), [], [2]),
        (model_of(latest(), 1, 2, 3), held(FAILED, 3), [2]),
        (model_of(latest(), 1, 2, 3), held(FAILED, 2, 3), [1]),
        (model_of(listed(3), 1, 2, 3), held(FAILED, 3), []),
        # It is tried again after a change of its files or of serving.toml.
        (model_of(latest(), 1, 2, 3), held(FAILED, 3, stamp="b"), [3]),
        (model_of(latest(), 1, 2, 3), held(FAILED, 3, serving_stamp="r"), [3]),
    ],
)  # fmt: skip
def test_what_serving_toml_and_the_disk_want(
    model: ModelOnDisk | None, memory: list[Held], versions: list[int]
) -> None:
    """The versions, oldest first, each with its revision on disk."""
    assert wanted(model, memory) == {version: revision(version) for version in versions}


@pytest.mark.parametrize("model", [model_of(latest(), 1, incomplete=[2]), model_of(latest(), 1, 2)])
def test_a_version_with_new_files_that_cannot_be_used_keeps_its_old_revision(
    model: ModelOnDisk,
) -> None:
    """Whether they are incomplete or have failed: version 2 serves, and is still the newest."""
    memory = [*held(SERVING, 2, stamp="old"), *held(FAILED, 2)]
    assert wanted(model, memory) == {2: revision(2, "old")}


# --- traffic


def before(
    *versions: int,
    default: int | None = None,
    awaited: Sequence[int] = (),
    awaited_labels: Mapping[str, int] | None = None,
    **labels: int,
) -> Traffic:
    """Return the traffic of *versions*; the default is the newest, or *default*."""
    serving = {version: revision(version) for version in versions}
    newest = max(versions) if default is None else default
    return Traffic(serving, newest, labels, frozenset(awaited), awaited_labels or {})


@pytest.mark.parametrize(
    ("model", "memory", "last", "expected"),
    [
        (model_of(latest(), 1), [], Traffic(), Traffic()),
        (model_of(latest(), 1), held(LOADED, 1), Traffic(), Traffic()),
        (model_of(latest(), 1), held(DRAINING, 1), before(1), Traffic()),
        (model_of(latest(), 1), held(SERVING, 1), Traffic(), before(1)),
        (model_of(ALL, 1, 2), held(SERVING, 1, 2), Traffic(), before(1, 2)),
        # The newest wanted version is the default as soon as it serves, also if it is older.
        (model_of(listed(1), 1, 2), held(SERVING, 1, 2), before(2), before(1, 2, default=1)),
        (model_of(listed(1), 1, 2), held(SERVING, 2), before(2), before(2, awaited=[1])),
        (model_of(latest(), 1, 2), held(SERVING, 1), before(1), before(1, awaited=[2])),
        # While the newest is loaded, the default stays, although an older version is wanted.
        (
            model_of(latest(1, old=1), 1, 2, 3),
            held(SERVING, 1, 2),
            before(1, 2, old=1),
            before(1, 2, awaited=[3], old=1),
        ),
        (
            model_of(latest(1, old=1), 1, 3),
            held(SERVING, 1),
            before(1, 2, old=1),
            before(1, awaited=[3], old=1),
        ),
        # A version that is gone from the disk serves until it is drained.
        (None, held(SERVING, 1), before(1), before(1)),
        # A label waits for its version, with the one that it had if that still serves.
        (
            model_of(latest(1, new=2), 1, 2),
            held(SERVING, 1),
            before(1, new=1),
            before(1, awaited=[2], new=1),
        ),
        (
            model_of(latest(1, new=2), 1, 2),
            held(SERVING, 1),
            before(1),
            before(1, awaited=[2], awaited_labels={"new": 2}),
        ),
        (
            model_of(latest(1, new=2), 1, 2, 3),
            held(SERVING, 2, 3),
            before(1, 3, new=1),
            before(2, 3, new=2),
        ),
        (
            model_of(latest(1, new=7), 1),
            held(SERVING, 1),
            before(1),
            before(1),
        ),
        # A newer version that only a label names is not the default.
        (
            model_of(listed(1, new=2), 1, 2),
            held(SERVING, 1, 2),
            before(1),
            Traffic(before(1, 2).serving, 1, {"new": 2}),
        ),
        # A label that was removed has no version, and no label has one if nothing is to be served.
        (model_of(latest(), 1), held(SERVING, 1), before(1, new=1), before(1)),
        (model_of(listed(stable=1), 1), held(SERVING, 1), before(1, stable=1), before(1)),
    ],
)  # fmt: skip
def test_which_versions_take_traffic(
    model: ModelOnDisk | None, memory: list[Held], last: Traffic, expected: Traffic
) -> None:
    """The versions that serve, the default, the labels, and what is awaited."""
    assert traffic(model, memory, last) == expected


# --- the next action


def action(step: Step, version: int, stamp: str = "a") -> Action:
    """Return the action for *version*."""
    return Action(step, revision(version, stamp))


@pytest.mark.parametrize(
    ("model", "memory", "labels", "expected"),
    [
        (None, [], {}, None),
        (model_of(latest()), [], {}, None),
        (model_of(latest(), 1, 2), [], {}, action(Step.LOAD, 2)),
        (model_of(ALL, 1, 2), [], {}, action(Step.LOAD, 2)),
        (model_of(ALL, 1, 2), held(SERVING, 2), {}, action(Step.LOAD, 1)),
        (model_of(ALL, 1, 2), held(LOADING, 2), {}, None),
        (model_of(latest(), 1), held(SERVING, 1), {}, None),
        (model_of(latest(), 1), held(FAILED, 1), {}, None),
        (model_of(latest(), 1), held(FAILED, 1, stamp="b"), {}, action(Step.LOAD, 1)),
        # Nothing is loaded while another version of the model leaves the memory.
        (model_of(latest(), 1, 2), held(DRAINING, 1), {}, None),
        (model_of(latest(), 1, 2), held(DRAINED, 1), {}, action(Step.UNLOAD, 1)),
        (model_of(latest(), 1, 2), held(UNLOADING, 1), {}, None),
        # What is loaded is served, unless that is no longer wanted.
        (model_of(latest(), 1), held(LOADED, 1), {}, action(Step.SWITCH, 1)),
        (model_of(latest(), 1, 2), held(LOADED, 1), {}, action(Step.UNLOAD, 1)),
        (None, held(LOADED, 1), {}, action(Step.UNLOAD, 1)),
        (None, held(LOADING, 1), {}, None),
        # An old version is drained when all that is wanted serves.
        (model_of(latest(), 1, 2), held(SERVING, 1, 2), {}, action(Step.DRAIN, 1)),
        (model_of(latest(), 1, 2), held(SERVING, 1), {}, action(Step.LOAD, 2)),
        (
            model_of(latest(1, old=1), 1, 2, 3),
            held(SERVING, 1, 2),
            {"old": 1},
            action(Step.LOAD, 3),
        ),
        (model_of(latest(2), 1, 2, 3), held(SERVING, 1, 2), {}, action(Step.LOAD, 3)),
        (model_of(latest(2), 1, 2, 3), held(SERVING, 1, 2, 3), {}, action(Step.DRAIN, 1)),
        (model_of(latest(), 1, 2), held(SERVING, 1, 2), {"stable": 1}, None),
        # It is drained at once if nothing is asked for.
        (None, held(SERVING, 1), {}, action(Step.DRAIN, 1)),
        (model_of(NONE, 1), held(SERVING, 1), {}, action(Step.DRAIN, 1)),
        (model_of(latest()), held(SERVING, 1), {}, action(Step.DRAIN, 1)),
        # It stays if what is asked for is incomplete, cannot be loaded, or is not there yet.
        (model_of(listed(2), 1, incomplete=[2]), held(SERVING, 1), {}, None),
        (model_of(latest(), incomplete=[2]), held(SERVING, 1), {}, None),
        (model_of(listed(2), 1, 2), held(SERVING, 1) + held(FAILED, 2), {}, None),
        (model_of(listed(7), 1), held(SERVING, 1), {}, None),
        # A version with new files is loaded beside the old ones.
        (model_of(latest(), 1), held(SERVING, 1, stamp="old"), {}, action(Step.LOAD, 1)),
    ],
)  # fmt: skip
def test_the_next_action_for_one_model(
    model: ModelOnDisk | None,
    memory: list[Held],
    labels: Mapping[str, int],
    expected: Action | None,
) -> None:
    """None waits for the disk, a load or a drain."""
    disk = {} if model is None else {"pets": model}
    assert next_action(disk, memory, {"pets": labels}) == expected


@pytest.mark.parametrize(
    ("model", "memory", "checking", "expected"),
    [
        (model_of(ALL, 1, 2), [], False, action(Step.CHECK, 2)),
        (model_of(latest(1, stable=1), 1, 2), held(SERVING, 3), False, action(Step.CHECK, 1)),
        # Other versions are loaded meanwhile, and the old one serves.
        (model_of(ALL, 1, 2), [], True, action(Step.LOAD, 1)),
        (model_of(latest(), 1, 2), held(SERVING, 1), True, None),
        (model_of(latest(), 1, 2), held(LOADING, 1), False, action(Step.CHECK, 2)),
        # Not for versions that are not wanted.
        (model_of(listed(1), 1, 2), held(SERVING, 1), False, None),
        (model_of(NONE, 1, 2), [], False, None),
    ],
)
def test_a_wanted_version_is_checked_before_it_is_loaded(
    model: ModelOnDisk, memory: list[Held], checking: bool, expected: Action | None
) -> None:
    """Version 2, and version 1 if it has a label; one at a time."""
    labelled = {*model.serving.labels.values()}
    versions = [replace(it, checked=it.version == 1 and 1 not in labelled) for it in model.versions]
    disk = {"pets": replace(model, versions=tuple(versions))}
    assert next_action(disk, memory, {}, checking=checking) == expected


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ([], Revision("cars", 2, "a None None")),
        ([Held(Revision("cars", 2, "a None None"), SERVING)], Revision("pets", 9, "a None None")),
        (
            [
                Held(Revision("cars", 1, "a None None"), SERVING),
                Held(Revision("pets", 1, "a None None"), SERVING),
            ],
            Revision("cars", 2, "a None None"),
        ),
        ([Held(Revision("boats", 1, "a None None"), LOADING)], None),
    ],
)
def test_one_model_at_a_time_is_loaded(memory: list[Held], expected: Revision | None) -> None:
    """Those that serve nothing come first, then they are in the order of their names."""
    disk = {
        name: model_of(ALL, *known, name=name) for name, known in (("pets", [9]), ("cars", [2]))
    }
    first = next_action(disk, memory, {})
    assert first == (None if expected is None else Action(Step.LOAD, expected))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (latest(), True),  # written again, as `load` does
        (listed(1), True),
        (latest(2), True),
        (ServingFacts(max_batch_size=4), True),
        (latest(stable=1), False),
        (ServingFacts(weight=2.0), False),
        (ServingFacts(labels={"stable": 1}, max_queue_delay=0.1), True),
    ],
)
def test_which_serving_toml_asks_for_another_load_of_what_failed(
    now: ServingFacts, expected: bool
) -> None:
    """Any that is written, except for one with other labels or another weight."""
    assert asks_again(latest(), now) is expected
