"""
Decide which versions of the models in a repository are served, and what is done next to get there.

Pure: `next_action` compares the repository on disk with the versions in memory, and returns one
action; the caller performs it and asks again.  A version takes no traffic before it is proven, and
an old one is not drained before a new one has taken its place.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from operator import itemgetter
from typing import TypeAlias

from model.repository.serving_toml import ServingFacts
from model.repository.snapshot import ModelOnDisk, Snapshot, VersionOnDisk


@dataclass(frozen=True, slots=True)
class Revision:
    """One version of a model with the files that it had, and the options that it is loaded with."""

    name: str
    version: int
    stamp: str  #: differs if the files or the options differ


class Stage(Enum):
    """Where a revision stands; in this order, except that FAILED follows LOADING."""

    LOADING = auto()  #: it is being loaded, warmed up and proven
    LOADED = auto()  #: proven; takes no traffic yet
    SERVING = auto()  #: takes traffic
    DRAINING = auto()  #: takes no new traffic; its accepted requests are answered
    DRAINED = auto()  #: its accepted requests are answered
    UNLOADING = auto()  #: its memory is given back
    FAILED = auto()  #: not in memory; it could not be loaded, warmed up or proven


@dataclass(frozen=True, slots=True)
class Held:
    """A revision in memory, or one that failed."""

    revision: Revision
    stage: Stage
    #: Of a failed revision: the `ModelOnDisk.serving_stamp` when it failed.
    serving_stamp: str = ""


class Step(Enum):
    """The kinds of actions."""

    CHECK = auto()  #: compute the hashes of a version on disk
    LOAD = auto()
    SWITCH = auto()  #: send traffic to a loaded revision
    DRAIN = auto()  #: send no further traffic to a revision
    UNLOAD = auto()


@dataclass(frozen=True, slots=True)
class Action:
    """What is done next with one revision."""

    step: Step
    revision: Revision


@dataclass(frozen=True, slots=True)
class Traffic:
    """Which versions of one model take traffic."""

    serving: Mapping[int, Revision] = field(default_factory=dict)
    default: int | None = None  #: the version for requests that name none
    labels: Mapping[str, int] = field(default_factory=dict)  #: a label may keep an older version
    awaited: frozenset[int] = frozenset()  #: the versions that are wanted and do not serve yet
    #: The labels that have no version yet, with the version that they are for.
    awaited_labels: Mapping[str, int] = field(default_factory=dict)


#: A revision that is to be checked or loaded, and its place in the order of these.
_Due: TypeAlias = tuple[tuple[bool, bool, str, int], Revision]


def revision_of(model: ModelOnDisk, version: VersionOnDisk) -> Revision:
    """Return the revision that a load of *version* of *model* would make now."""
    facts = model.serving
    options = f"{facts.max_batch_size} {facts.max_queue_delay}"
    return Revision(model.name, version.version, f"{version.stamp} {options}")


def asks_again(before: ServingFacts, now: ServingFacts) -> bool:
    """
    Return whether a serving.toml that was written asks for another load of what failed.

    Not if it differs in labels or weight alone: a rollback by label must not wait for versions that
    fail again.
    """
    return now == before or replace(now, labels=before.labels, weight=before.weight) != before


def wanted(model: ModelOnDisk | None, held: Sequence[Held]) -> dict[int, Revision]:
    """
    Return the revisions of *model* that are to be served, by version; *held* are those it has.

    A version on disk that is incomplete, or whose revision failed, counts with the revision that
    serves, if there is one, else not at all: so an older version is chosen instead.
    """
    if model is None:
        return {}
    candidates = _candidates(model, held)
    chosen = _chosen(model, candidates) | set(_labels(model).values())
    return {version: candidates[version] for version in sorted(chosen & candidates.keys())}


def _chosen(model: ModelOnDisk, candidates: Collection[int]) -> set[int]:
    """Return which of *candidates* the key ``versions`` asks for, without those of labels."""
    facts = model.serving
    if facts.versions is not None:
        return set(facts.versions) & set(candidates)
    return set(candidates if facts.latest is None else sorted(candidates)[-facts.latest :])


def _labels(model: ModelOnDisk | None) -> Mapping[str, int]:
    """Return the version of each label; none if no version is to be served."""
    return {} if model is None or model.serving.versions == () else model.serving.labels


def _asks_for_any(model: ModelOnDisk | None) -> bool:
    """Return whether any version is to be served, even if none can be now."""
    if model is None:
        return False
    return bool(model.versions if model.serving.versions is None else model.serving.versions)


def _candidates(model: ModelOnDisk, held: Sequence[Held]) -> dict[int, Revision]:
    """Return the revision of each version that can be served, or serves."""
    failed = {
        each.revision
        for each in held
        if each.stage is Stage.FAILED and each.serving_stamp == model.serving_stamp
    }
    serving = {it.revision.version: it.revision for it in held if it.stage is Stage.SERVING}
    found = {}
    for version in model.versions:
        revision = revision_of(model, version)
        if version.complete and revision not in failed:
            found[version.version] = revision
        elif version.version in serving:
            found[version.version] = serving[version.version]
    return found


def traffic(model: ModelOnDisk | None, held: Sequence[Held], before: Traffic) -> Traffic:
    """
    Return which versions of *model* take traffic now; *before* is the last result.

    The default is the newest version that is wanted, and not for a label alone.  Until that one
    serves, the default stays, or is the newest that serves.  A label whose version does not serve
    yet keeps the version that it had, while that one serves.
    """
    serving = {it.revision.version: it.revision for it in held if it.stage is Stage.SERVING}
    if not serving:
        return Traffic()
    want = wanted(model, held)
    labels, awaited_labels = {}, {}
    for label, version in _labels(model).items():
        target = version if version in serving else before.labels.get(label)
        if target in serving:
            labels[label] = target
        elif version in want:
            awaited_labels[label] = version
    chosen = _chosen(model, want) if model is not None else set()
    if chosen and max(chosen) in serving:
        default = max(chosen)
    elif before.default in serving:
        default = before.default
    else:
        default = max(chosen & serving.keys() or serving)
    return Traffic(serving, default, labels, frozenset(want.keys() - serving), awaited_labels)


def next_action(
    disk: Snapshot,
    held: Sequence[Held],
    labels: Mapping[str, Mapping[str, int]],
    *,
    checking: bool = False,
) -> Action | None:
    """
    Return the next action; None to wait for the disk, a check, a load or a drain.

    *held* has, for each version of a model, at most one revision that serves.  *labels* are those
    in `Traffic` now, by model: a version with a label is not drained.  At most one revision loads
    at a time, because a load takes memory and cores.  *checking*: whether the hashes of a version
    are being computed; those of one version at a time, and only of versions that are wanted.
    """
    by_model: dict[str, list[Held]] = {name: [] for name in disk}
    for each in held:
        by_model.setdefault(each.revision.name, []).append(each)
    checks: list[_Due] = []
    loads: list[_Due] = []
    for name, own in sorted(by_model.items()):
        model = disk.get(name)
        want = wanted(model, own)
        kept = set(labels.get(name, {}).values())
        action = _action_in_memory(own, want, kept, stays=not want and _asks_for_any(model))
        if action is not None:
            return action
        if not any(it.stage in (Stage.DRAINING, Stage.DRAINED, Stage.UNLOADING) for it in own):
            known = {it.revision for it in own if it.stage is not Stage.FAILED}
            serves = any(it.stage is Stage.SERVING for it in own)
            missing = [revision for revision in want.values() if revision not in known]
            # A rollback by label does not wait for newer versions.
            labelled = set(_labels(model).values()) if serves else set()
            # Models that serve nothing first, and of each the newest version.
            first_checked = unchecked(model)
            for it in missing:
                due = (serves, it.version not in labelled, name, -it.version), it
                (checks if it in first_checked else loads).append(due)
    if checks and not checking:
        return Action(Step.CHECK, min(checks, key=itemgetter(0))[1])
    if not loads or any(it.stage is Stage.LOADING for it in held):
        return None
    return Action(Step.LOAD, min(loads, key=itemgetter(0))[1])


def unchecked(model: ModelOnDisk | None) -> set[Revision]:
    """Return the revisions on disk whose hashes are not known yet: they cannot be loaded."""
    if model is None:
        return set()
    return {revision_of(model, it) for it in model.versions if not it.checked}


def _action_in_memory(
    own: Sequence[Held], want: Mapping[int, Revision], labelled: set[int], *, stays: bool
) -> Action | None:
    """
    Return the next action for the revisions of one model that are in memory, or None.

    If *stays*, none of the versions that are asked for can be served: what serves is not drained.
    """
    wanted_now = set(want.values())
    for each in own:
        if each.stage is Stage.LOADED:
            step = Step.SWITCH if each.revision in wanted_now else Step.UNLOAD
            return Action(step, each.revision)
        if each.stage is Stage.DRAINED:
            return Action(Step.UNLOAD, each.revision)
    serving = [each.revision for each in own if each.stage is Stage.SERVING]
    if stays or not wanted_now.issubset(serving):
        return None
    for revision in serving:
        if revision not in wanted_now and revision.version not in labelled:
            return Action(Step.DRAIN, revision)
    return None
