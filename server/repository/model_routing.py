"""
Send the requests for each model to the versions of it that serve.

model/repository/version_policy.py decides which; this module applies that to `Models`, all at once
for one model.  Everything here runs on the reactor thread.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, cast

from twisted.logger import Logger

from model.repository.snapshot import CHECKING, ModelOnDisk, Snapshot
from model.repository.version_policy import (
    Revision,
    Stage,
    Traffic,
    traffic,
    unchecked,
    wanted,
)
from server.models import Models, Versions
from server.repository.loaded import Loaded

if TYPE_CHECKING:
    from server.inference import Inference

_log = Logger()


class ModelRouting:
    """Which versions of each model take traffic now."""

    def __init__(self, models: Models, *, logs: bool) -> None:
        """*logs*: whether a change of a default version is logged."""
        self._models = models
        self._logs = logs
        self._traffic: dict[str, Traffic] = {}
        self._names: dict[str, str] = {}  # under which requests ask for a model

    def traffic_of(self, name: str) -> Traffic:
        """Return which versions of the model *name* take traffic."""
        return self._traffic.get(name, Traffic())

    @property
    def labels(self) -> Mapping[str, Mapping[str, int]]:
        """The labels that have a version, by model."""
        return {name: it.labels for name, it in self._traffic.items()}

    def update(self, disk: Snapshot, loaded: Mapping[Revision, Loaded], now: float) -> None:
        """
        Send the requests to what serves, given what is on *disk* and what is *loaded*.

        *now* is the monotonic time in seconds.
        """
        by_model: dict[str, list[Loaded]] = {name: [] for name in disk}
        for each in loaded.values():
            by_model.setdefault(each.revision.name, []).append(each)
        awaited = {}
        for name, own in by_model.items():
            model, held = disk.get(name), [it.held for it in own]
            before = self.traffic_of(name)
            after = traffic(model, held, before)
            if after != before:
                self._send(name, after, loaded)
            want = wanted(model, held).values()
            if not after.serving and (state := _state(model, own, want, now)):
                awaited[name] = state
        self._models.await_models(awaited)

    def _send(self, name: str, now: Traffic, loaded: Mapping[Revision, Loaded]) -> None:
        default = self.traffic_of(name).default
        self._traffic[name] = now
        if now.default is None:
            del self._traffic[name]
            self._models.route(self._names.pop(name), None)
            return
        # A revision that serves is loaded.
        versions = {
            v: cast("Inference", loaded[it].host.inference) for v, it in now.serving.items()
        }
        own = {v: it.model.version for v, it in versions.items()}
        served = self._names[name] = versions[now.default].model.name
        self._models.route(
            served,
            Versions(
                {own[v]: it for v, it in versions.items()},
                own[now.default],
                {label: own[v] for label, v in now.labels.items()},
                {str(v) for v in now.awaited},
                now.awaited_labels,
            ),
        )
        if now.default != default and self._logs:
            _log.info("requests for {name} go to version {v}", name=served, v=own[now.default])


def _state(
    model: ModelOnDisk | None, own: Collection[Loaded], want: Collection[Revision], now: float
) -> str:
    """
    Return why *model* takes no requests at *now*; "" if none is asked for.

    *own* are its revisions in memory, *want* are those that are wanted.
    """
    loading = [it.long_load(now) for it in own if it.stage in (Stage.LOADING, Stage.LOADED)]
    if loading:
        return loading[0] or "loading"
    if want and unchecked(model).issuperset(want):
        return CHECKING
    if want:
        return "waiting for the load of another model"
    reasons = [it.reason for it in own if it.stage is Stage.FAILED]
    return reasons[-1] if reasons else ""
