"""
Describe the models of a repository and their versions, for users.

Reads the state of a `Reconciler` and changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from model.repository.snapshot import CHECKING, ModelOnDisk
from model.repository.version_policy import Revision, Stage, Traffic, revision_of, wanted
from server.repository.loaded import Loaded
from server.repository.reconciler import Reconciler

#: The words for the stages; the ends of a load and of a drain are seen only between two actions.
_STATES = {
    Stage.LOADING: "loading",
    Stage.LOADED: "loaded",
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
    reason: str = ""  #: why it is incomplete, waits or failed; how long it is loading, if long
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
    notes: tuple[str, ...] = ()  #: what files of another server state without effect


def report_models(reconciler: Reconciler) -> list[ModelReport]:
    """Return a report of each model that is on disk or in memory, in the order of their names."""
    return sorted(
        (_report(reconciler, folder) for folder in _folders(reconciler)), key=lambda it: it.name
    )


def find_report(reconciler: Reconciler, name: str) -> ModelReport | None:
    """Return the report of the model *name*; None if there is no such model."""
    if not reconciler.repository.changes:
        return next((it for it in report_models(reconciler) if it.name == name), None)
    return _report(reconciler, name) if name in _folders(reconciler) else None


def model_names(reconciler: Reconciler) -> list[str]:
    """Return the names of the models that `report_models` reports, in order."""
    if not reconciler.repository.changes:
        return [it.name for it in report_models(reconciler)]
    return sorted(_folders(reconciler))


def _folders(reconciler: Reconciler) -> set[str]:
    """Return the folders of all models; they are the names of models that can be changed."""
    return {it.revision.name for it in reconciler.held.values()} | set(reconciler.disk)


def _report(reconciler: Reconciler, name: str) -> ModelReport:
    model = reconciler.disk.get(name)
    own = [it for it in reconciler.held.values() if it.revision.name == name]
    traffic = reconciler.routing.traffic_of(name)
    numbers = {it.version for it in model.versions} if model is not None else set()
    numbers |= {it.revision.version for it in own}
    want = set(wanted(model, [it.held for it in own]).values())
    # A model that options name states its own name and version once it is loaded.
    served = next((it.host.inference.model for it in own if it.host.inference), None)
    states_itself = served is not None and not reconciler.repository.changes

    def shown(number: int) -> str:
        return served.version if served is not None and states_itself else str(number)

    return ModelReport(
        name=served.name if served is not None else name,
        versions=tuple(
            VersionReport(
                shown(number),
                *_state(
                    model,
                    [it for it in own if it.revision.version == number],
                    want,
                    number,
                    reconciler.seconds(),
                ),
                tuple(sorted(label for label, it in traffic.labels.items() if it == number)),
            )
            for number in sorted(numbers, reverse=True)
        ),
        default_version=None if traffic.default is None else shown(traffic.default),
        labels={label: str(it) for label, it in (model.serving.labels if model else {}).items()},
        weight=model.serving.weight if model is not None else 1.0,
        problem=_problem(model, traffic),
        notes=tuple(reconciler.repository.relative(it) for it in model.notes) if model else (),
    )


def _problem(model: ModelOnDisk | None, traffic: Traffic) -> str:
    """Return what is wrong with the folder of *model*, its serving.toml or its labels."""
    if model is None or model.problem or model.serving.versions == ():
        return model.problem if model is not None else ""
    wrong = [
        f"the label {label} is for version {version}, which is not served"
        for label, version in sorted(model.serving.labels.items())
        if version not in traffic.serving and version not in traffic.awaited
    ]
    return "; ".join(wrong)


def _state(
    model: ModelOnDisk | None, revisions: list[Loaded], want: set[Revision], number: int, now: float
) -> tuple[str, str]:
    """
    Return the state of the version *number* of *model* at *now*, and its reason.

    *revisions* are those of the version, *want* are the wanted ones of the model.
    """
    failed = next((it.reason for it in revisions if it.reason), "")
    serving = next((it for it in revisions if it.stage is Stage.SERVING), None)
    if serving is not None:
        return "serving", f"its new files failed: {failed}" if failed else ""
    if revisions:
        return _STATES[revisions[0].stage], failed or revisions[0].long_load(now)
    on_disk = next((it for it in model.versions if it.version == number), None) if model else None
    if model is None or on_disk is None:
        return "not served", ""
    if not on_disk.complete:
        return "incomplete", on_disk.reason
    if revision_of(model, on_disk) not in want:
        return "not served", ""
    return "waiting", "" if on_disk.checked else CHECKING
