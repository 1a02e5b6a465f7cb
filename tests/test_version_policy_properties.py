"""The versions that are served after any history of a repository, and in between."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from model.repository.serving_toml import ServingFacts
from model.repository.snapshot import ModelOnDisk, VersionOnDisk
from model.repository.version_policy import (
    Action,
    Held,
    Revision,
    Stage,
    Step,
    Traffic,
    next_action,
    revision_of,
    traffic,
    unchecked,
    wanted,
)

NAMES = ("cars", "pets")
VERSIONS = (1, 2, 3, 4)
#: More actions than any history of the test can need without an event in between.
MAX_ACTIONS = 100

names = st.sampled_from(NAMES)
versions = st.sampled_from(VERSIONS)
labels = st.dictionaries(st.sampled_from(["new", "old"]), versions, max_size=2)
lists = st.lists(st.sampled_from((*VERSIONS, 9)), unique=True, max_size=3)
serving_facts = st.one_of(
    st.builds(ServingFacts, latest=st.sampled_from([1, 1, 2, None]), labels=labels),
    st.builds(
        lambda numbers, named: ServingFacts(None, tuple(sorted(numbers)), named), lists, labels
    ),
    st.builds(ServingFacts, max_batch_size=st.sampled_from([1, 2])),
)


def _asks_for_any(model: ModelOnDisk | None) -> bool:
    """Return whether *model* would serve a version if all were complete and right."""
    if model is None:
        return False
    listed = model.serving.versions
    return bool(model.versions) if listed is None else listed != ()


class Repository(RuleBasedStateMachine):
    """
    A repository that changes, and the versions in memory, on which actions have their effects.

    A check, a load, a drain and an unload end at some later time.  Stamps are never used twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.disk: dict[str, ModelOnDisk] = {}
        self.held: dict[Revision, Held] = {}
        self.traffic = {name: Traffic() for name in NAMES}
        self.broken: set[str] = set()  #: the stamps of files that cannot be loaded
        self.failures: set[tuple[Revision, str]] = set()  #: with the stamps of serving.toml
        self.checking: Revision | None = None
        self._stamps = map(str, count())

    # The disk changes.

    def _files(self, name: str, version: int, complete: bool, checked: bool, broken: bool) -> None:
        model = self.disk.get(name) or ModelOnDisk(name, (), ServingFacts(), "")
        stamp = next(self._stamps)
        if broken:
            self.broken.add(stamp)
        new = VersionOnDisk(version, Path(), stamp, 1, complete, checked)
        others = [it for it in model.versions if it.version != version]
        ordered = sorted([*others, new], key=lambda it: it.version)
        self.disk[name] = replace(model, versions=tuple(ordered))

    def _change(self, name: str, change: Callable[[VersionOnDisk], list[VersionOnDisk]]) -> None:
        model = self.disk[name]
        changed = [new for it in model.versions for new in change(it)]
        self.disk[name] = replace(model, versions=tuple(changed))

    @rule(
        name=names,
        version=versions,
        complete=st.booleans(),
        checked=st.booleans(),
        broken=st.booleans(),
    )
    def write(self, name: str, version: int, complete: bool, checked: bool, broken: bool) -> None:
        """A version appears, or its files are replaced."""
        self._files(name, version, complete, checked or not complete, broken)
        self._act()

    @precondition(lambda self: self.disk)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        """All versions of a model are copied to their ends."""
        name = data.draw(st.sampled_from(sorted(self.disk)))
        self._change(name, lambda it: [replace(it, complete=True)])
        self._act()

    @precondition(lambda self: self.disk)
    @rule(data=st.data(), version=versions)
    def vanish(self, data: st.DataObject, version: int) -> None:
        """A version is deleted."""
        name = data.draw(st.sampled_from(sorted(self.disk)))
        self._change(name, lambda it: [] if it.version == version else [it])
        self._act()

    @precondition(lambda self: self.disk)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """A model is deleted."""
        del self.disk[data.draw(st.sampled_from(sorted(self.disk)))]
        self._act()

    @rule(name=names, facts=serving_facts)
    def edit(self, name: str, facts: ServingFacts) -> None:
        """Its serving.toml is written."""
        model = self.disk.get(name) or ModelOnDisk(name, (), ServingFacts(), "")
        self.disk[name] = replace(model, serving=facts, serving_stamp=next(self._stamps))
        self._act()

    # What is under way ends.

    @precondition(lambda self: self.checking)
    @rule()
    def end_check(self) -> None:
        """The hashes of a version are computed; those of broken files are false."""
        checked, self.checking = self.checking, None
        for name, model in self.disk.items():
            versions = [
                replace(it, checked=True, complete=it.stamp not in self.broken)
                if revision_of(model, it) == checked
                else it
                for it in model.versions
            ]
            self.disk[name] = replace(model, versions=tuple(versions))
        self._act()

    def _under_way(self) -> list[Held]:
        stages = (Stage.LOADING, Stage.DRAINING, Stage.UNLOADING)
        return [it for it in self.held.values() if it.stage in stages]

    @precondition(lambda self: self._under_way())
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A load, a drain or an unload ends."""
        under_way = self._under_way()
        self._end(under_way[data.draw(st.integers(0, len(under_way) - 1))])

    def _end(self, ending: Held) -> None:
        revision = ending.revision
        if ending.stage is Stage.UNLOADING:
            del self.held[revision]
        elif ending.stage is Stage.DRAINING:
            self.held[revision] = replace(ending, stage=Stage.DRAINED)
        elif revision.stamp.split()[0] in self.broken:
            self.held[revision] = replace(ending, stage=Stage.FAILED)
            self.failures.add((revision, ending.serving_stamp))
        else:
            self.held[revision] = replace(ending, stage=Stage.LOADED)
        self._act()

    # Actions.

    def _own(self, name: str) -> list[Held]:
        return [it for it in self.held.values() if it.revision.name == name]

    def _serving(self, name: str) -> dict[int, Revision]:
        own = [it.revision for it in self._own(name) if it.stage is Stage.SERVING]
        assert len({it.version for it in own}) == len(own), own
        return {it.version: it for it in own}

    def _route(self) -> None:
        for name in NAMES:
            model, own, before = self.disk.get(name), self._own(name), self.traffic[name]
            now = self.traffic[name] = traffic(model, own, before)
            if before.default in now.serving and now.default != before.default:
                assert now.default == max(wanted(model, own)), "it has not been replaced yet"

    def _act(self) -> None:
        for _ in range(MAX_ACTIONS):
            self._route()
            effective = {name: it.labels for name, it in self.traffic.items()}
            action = next_action(
                self.disk, list(self.held.values()), effective, checking=self.checking is not None
            )
            if action is None:
                return
            self._perform(action)
        raise AssertionError("the actions do not come to an end")

    def _perform(self, action: Action) -> None:
        revision, step = action.revision, action.step
        name = revision.name
        serving, model = self._serving(name), self.disk.get(name)
        if step is Step.CHECK:
            assert self.checking is None
            assert revision in wanted(model, self._own(name)).values()
            self.checking = revision
            return
        if step is Step.LOAD:
            assert not any(it.stage is Stage.LOADING for it in self.held.values())
            assert model is not None
            assert revision not in unchecked(model)
            assert (revision, model.serving_stamp) not in self.failures, "it is tried again"
            assert revision not in self.held or self.held[revision].stage is Stage.FAILED
            self.held[revision] = Held(revision, Stage.LOADING, model.serving_stamp)
            return
        stage = self.held[revision].stage
        if step is Step.SWITCH:
            assert stage is Stage.LOADED
            if revision.version in serving:
                self._move(serving[revision.version], Stage.DRAINING)
            self._move(revision, Stage.SERVING)
        elif step is Step.DRAIN:
            assert stage is Stage.SERVING
            assert revision.version not in self.traffic[name].labels.values()
            want = wanted(model, self._own(name))
            assert {*want.values()} <= {*serving.values()}, "it has not been replaced yet"
            assert want or not _asks_for_any(model), "nothing would serve"
            self._move(revision, Stage.DRAINING)
        else:
            assert stage in (Stage.LOADED, Stage.DRAINED)
            self._move(revision, Stage.UNLOADING)

    def _move(self, revision: Revision, stage: Stage) -> None:
        self.held[revision] = replace(self.held[revision], stage=stage)

    # What is always so, and what is so in the end.

    @invariant()
    def requests_go_to_what_serves(self) -> None:
        """The default and each label name a version that serves."""
        for name, now in self.traffic.items():
            serving = self._serving(name)
            assert now.serving == serving
            assert {*now.labels.values()} <= serving.keys()
            assert now.default in serving if serving else now.default is None

    @rule()
    def settle(self) -> None:
        """All that is under way ends: what is wanted serves, and nothing else."""
        for _ in range(MAX_ACTIONS):
            if under_way := self._under_way():
                self._end(under_way[0])
            elif self.checking is not None:
                self.end_check()
            else:
                break
        assert {it.stage for it in self.held.values()} <= {Stage.SERVING, Stage.FAILED}
        for name in NAMES:
            self._check_settled(name)

    def _check_settled(self, name: str) -> None:
        model, serving = self.disk.get(name), self._serving(name)
        want = wanted(model, self._own(name))
        assert want.items() <= serving.items()
        if want or not _asks_for_any(model):
            assert serving.keys() - want.keys() <= {*self.traffic[name].labels.values()}
        if want:
            listed = model.serving.versions if model is not None else None
            chosen = want.keys() & set(want if listed is None else listed)
            # A newer version that only a label names is no default.
            assert not chosen or self.traffic[name].default == max(chosen)
        if model is None or model.serving.versions == ():
            assert not serving
            return
        if model.serving.latest is None or not model.versions:
            return
        newest = model.versions[-1]
        if newest.complete and newest.stamp not in self.broken:
            assert serving[newest.version] == revision_of(model, newest)

    def teardown(self) -> None:
        """Settle."""
        self.settle()


@pytest.mark.parametrize("steps", [50])
def test_any_history_of_a_repository_ends_with_what_is_wanted(steps: int) -> None:
    """And a model that serves something serves something until nothing is wanted of it."""
    run_state_machine_as_test(
        Repository,
        settings=settings(
            max_examples=100,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
