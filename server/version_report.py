"""
Describe the models of a repository and their versions, for users.

Reads the state of a `Reconciler` and changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from model.repository.version_policy import Held, Stage, revision_of, wanted
from server.reconciler import Loaded, Reconciler

#: The words for the stages; the ends of a load and of a drain are seen only between two actions.
_STATES = {
    Stage.LOADING: "loading",
    Stage.LOADED: "loaded",
    Stage.SERVING: "serving",
    Stage.DRAINING: "draining",
    Stage.DRAINED: "draining",
    Stage.UNLOADING: "draining",
    Stage.FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class VersionReport:
    """One version of a model."""

    version: str
    state: str  #: as in `_STATES`, "incomplete", "waiting" (to be loaded) or "not served"
    reason: str = ""  #: why it is incomplete or failed
    labels: tuple[str, ...] = ()  #: those whose requests it answers


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model."""

    name: str
    versions: tuple[VersionReport, ...]  #: the newest first
    default_version: str | None  #: for requests that name none
    labels: Mapping[str, str] = field(default_factory=dict)  #: the version of each label, as asked
    weight: float = 1.0  #: of its turns on the lanes
    problem: str = ""  #: why its serving.toml is not used


def report_models(reconciler: Reconciler) -> list[ModelReport]:
    """Return a report of each model that is on disk or in memory, in the order of their names."""
    names = {it.revision.name for it in reconciler.held.values()} | set(reconciler.disk)
    return sorted((_report(reconciler, name) for name in names), key=lambda it: it.name)


def find_report(reconciler: Reconciler, name: str) -> ModelReport | None:
    """Return the report of the model *name*; None if there is no such model."""
    return next((it for it in report_models(reconciler) if it.name == name), None)


def _report(reconciler: Reconciler, name: str) -> ModelReport:
    model = reconciler.disk.get(name)
    own = [it for it in reconciler.held.values() if it.revision.name == name]
    traffic = reconciler.traffic_of(name)
    labels: dict[int, list[str]] = {}
    for label, version in sorted(traffic.labels.items()):
        labels.setdefault(version, []).append(label)
    numbers = {it.version for it in model.versions} if model is not None else set()
    numbers |= {it.revision.version for it in own}
    served_as = next((it.host.inference.model for it in own if it.host.inference), None)
    one = not reconciler.repository.changes and served_as is not None
    rows = tuple(
        VersionReport(
            served_as.version if one and served_as is not None else str(number),
            *_state(reconciler, name, number),
            tuple(labels.get(number, ())),
        )
        for number in sorted(numbers, reverse=True)
    )
    default = None if traffic.default is None else str(traffic.default)
    return ModelReport(
        name=served_as.name if served_as is not None else name,
        versions=rows,
        default_version=rows[0].version if one and default is not None else default,
        labels={label: str(it) for label, it in (model.serving.labels if model else {}).items()},
        weight=model.serving.weight if model is not None else 1.0,
        problem=model.problem if model is not None else "",
    )


def _state(reconciler: Reconciler, name: str, number: int) -> tuple[str, str]:
    """Return the state of the version *number* of the model *name*, and its reason."""
    model = reconciler.disk.get(name)
    held = [it for it in reconciler.held.values() if it.revision.name == name]
    own = sorted(
        (it for it in held if it.revision.version == number), key=lambda it: it.stage is not _SERVES
    )
    on_disk = next((it for it in model.versions if it.version == number), None) if model else None
    if own:
        return _STATES[own[0].stage], own[0].reason or _failure(own)
    if on_disk is None or model is None:
        return "not served", ""
    if not on_disk.complete:
        return "incomplete", on_disk.reason
    stages = [Held(it.revision, it.stage, it.serving_stamp) for it in held]
    is_wanted = revision_of(model, on_disk) in wanted(model, stages).values()
    return ("waiting" if is_wanted else "not served"), ""


_SERVES = Stage.SERVING


def _failure(own: list[Loaded]) -> str:
    """Return why a newer revision of a version that serves has failed; "" if none has."""
    return next((f"its new files failed: {it.reason}" for it in own if it.reason), "")
