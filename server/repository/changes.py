"""
Change what a repository serves, by its serving.toml files; see `server.api.models_api.Changes`.

Everything here runs on the reactor thread; the files are written on the thread that reads them.
"""

import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import DeferredLock, ensureDeferred

from model.repository import serving_toml
from model.repository.serving_toml import SERVING_TOML
from model.repository.snapshot import ModelOnDisk
from model.repository.version_policy import Stage, wanted
from server.http.error_statuses import HTTPError
from server.repository.reconciler import Reconciler
from server.repository.repositories import FolderRepository
from server.repository.version_report import ModelReport, find_report, report_models


class RepositoryChanges:
    """Edits the serving.toml of a model, and waits until it has been read again."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._lock = DeferredLock()

    def reports(self) -> list[ModelReport]:
        """Return a report of each model."""
        return report_models(self._reconciler)

    async def load(self, name: str, version: str | None) -> ModelReport:
        """
        Serve *version* in addition, or the versions by default if none is served.

        Failed versions are tried again.  Raises a 404 for what is not on disk.
        """
        return await self._one_at_a_time(lambda: self._load(name, version))

    async def _load(self, name: str, version: str | None) -> ModelReport:
        root, model = self._model(name)
        number = None if version is None else self._on_disk(model, version)
        now = self._wanted(model)
        if number is not None and number not in now:
            return await self._edit(name, lambda: serving_toml.serve(root, sorted({*now, number})))
        if number is None and model.serving.versions == ():
            return await self._edit(name, lambda: serving_toml.serve(root, None))
        return await self._edit(name, lambda: serving_toml.rewrite(root))

    async def unload(self, name: str, version: str | None) -> ModelReport:
        """
        Serve *version* no longer, or no version.

        Raises a 404 for what is neither on disk nor served, and a 409 for a version with a label.
        """
        return await self._one_at_a_time(lambda: self._unload(name, version))

    async def _unload(self, name: str, version: str | None) -> ModelReport:
        root, model = self._model(name)
        if version is None:
            return await self._edit(name, lambda: serving_toml.serve(root, []))
        number = self._on_disk(model, version)
        labels = [label for label, it in model.serving.labels.items() if it == number]
        if labels:
            raise HTTPError(409, f"version {number} has the label {labels[0]}: move it first")
        now = self._wanted(model)
        if number not in now:
            return self._report(name)
        rest = [it for it in now if it != number]
        return await self._edit(name, lambda: serving_toml.serve(root, rest))

    async def label(self, name: str, label: str, version: int | None) -> ModelReport:
        """
        Give *label* to *version*; None removes it.

        Raises a 404 for a version that is not on disk, or for a label to remove that there is not.
        """
        return await self._one_at_a_time(lambda: self._label(name, label, version))

    async def _label(self, name: str, label: str, version: int | None) -> ModelReport:
        root, model = self._model(name)
        if re.fullmatch(r"[A-Za-z0-9._-]{1,100}", label) is None:
            raise HTTPError(400, "a label has up to 100 letters, digits, '.', '_' and '-'")
        if version is None and label not in model.serving.labels:
            raise HTTPError(404, f"no label {label[:80]!r} of {name}")
        if version is not None:
            self._on_disk(model, str(version))
            if model.serving.labels.get(label) == version:
                return self._report(name)
        return await self._edit(name, lambda: serving_toml.set_label(root, label, version))

    async def _one_at_a_time(
        self, change: Callable[[], Coroutine[Any, Any, ModelReport]]
    ) -> ModelReport:
        """Call *change* after the changes before it, when the files have been read again."""

        async def run() -> ModelReport:
            await self._reconciler.refresh()
            return await change()

        return cast("ModelReport", await self._lock.run(lambda: ensureDeferred(run())))

    def _model(self, name: str) -> tuple[Path, ModelOnDisk]:
        """Return the serving.toml of the model *name*, and the model."""
        repository = self._reconciler.repository
        if not isinstance(repository, FolderRepository):
            raise HTTPError(409, "the model is named by an option: only --models can be changed")
        model = self._reconciler.disk.get(name)
        if model is None:
            known = ", ".join(sorted(self._reconciler.disk)[:20]) or "none"
            raise HTTPError(404, f"no model {name[:80]!r}; there are: {known}")
        return repository.root / name / SERVING_TOML, model

    def _on_disk(self, model: ModelOnDisk, version: str) -> int:
        for each in model.versions:
            if str(each.version) == version:
                return each.version
        known = ", ".join(str(it.version) for it in model.versions) or "none"
        raise HTTPError(404, f"no version {version[:80]!r} of {model.name}; there are: {known}")

    def _wanted(self, model: ModelOnDisk) -> list[int]:
        """
        Return the versions that serving.toml asks for.

        Both those whose last load has failed and those that serve in their place are among them.
        """
        if model.serving.versions is not None:
            return list(model.serving.versions)
        held = [it.held for it in self._reconciler.held.values() if it.revision.name == model.name]
        in_memory = [it for it in held if it.stage is not Stage.FAILED]
        return sorted(wanted(model, held).keys() | wanted(model, in_memory).keys())

    async def _edit(self, name: str, edit: Callable[[], object]) -> ModelReport:
        try:
            await self._reconciler.change(edit)
        except OSError as error:
            raise HTTPError(
                409, f"the repository cannot be written: {error.strerror or error}"
            ) from error
        return self._report(name)

    def _report(self, name: str) -> ModelReport:
        report = find_report(self._reconciler, name)
        if report is None:
            raise HTTPError(404, f"{name} is gone")
        return report
