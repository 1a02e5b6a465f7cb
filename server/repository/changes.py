"""
Change what a repository serves, by its serving.toml files; see `server.api.models_api.Changes`.

Everything here runs on the reactor thread; the files are written on the thread that reads them.
"""

from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, cast

from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from model.repository import serving_toml
from model.repository.serving_toml import SERVING_TOML
from model.repository.snapshot import ModelOnDisk
from model.repository.toml_keys import NAME_CHARACTERS, is_segment
from model.repository.version_policy import Held, Stage, wanted
from server.http.error_statuses import HTTPError
from server.models import there_are
from server.repository.reconciler import Reconciler
from server.repository.repositories import FolderRepository
from server.repository.version_report import ModelReport, find_report, model_names, report_models

_log = Logger()

#: The seconds after which a change is answered although its files are not read again.
CHANGE_SECONDS = 30.0

#: The longest label that is set.
MAX_LABEL_CHARACTERS = 100


class RepositoryChanges:
    """Edits the serving.toml of a model, and waits until it has been read again."""

    def __init__(self, reconciler: Reconciler, clock: IReactorTime) -> None:
        self._reconciler = reconciler
        self._clock = clock
        self._lock = DeferredLock()

    def reports(self) -> list[ModelReport]:
        """Return a report of each model."""
        return report_models(self._reconciler)

    def report(self, name: str) -> ModelReport:
        """Return the report of the model *name*; raises a 404 if there is none."""
        report = find_report(self._reconciler, name)
        if report is None:
            raise _unknown(name, model_names(self._reconciler))
        return report

    async def reload(self) -> None:
        """Read the repository now, and try again to load what has failed."""
        held = self._reconciler.held
        for failed in [it for it in held.values() if it.stage is Stage.FAILED]:
            del held[failed.revision]
        await self._reconciler.refresh()

    async def load(self, name: str, version: str | None) -> ModelReport:
        """
        Serve *version* in addition, or the versions by default if none is served.

        Failed versions are tried again.  Raises a 404 for what is not on disk.
        """
        return await self._one_at_a_time(lambda: self._load(name, version))

    async def _load(self, name: str, version: str | None) -> ModelReport:
        root, model = self._model(name)
        number = None if version is None else _number(model, version, _on_disk(model))
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
        now = self._wanted(model)
        number = _number(model, version, {*_on_disk(model), *now})
        labels = [label for label, it in model.serving.labels.items() if it == number]
        if labels:
            raise HTTPError(409, f"version {number} has the label {labels[0]}: move it first")
        if number not in now:
            return self.report(name)
        # An empty list would unload the versions of labels, too.
        rest = [it for it in now if it != number] or self._labelled(model)
        return await self._edit(name, lambda: serving_toml.serve(root, rest))

    async def label(self, name: str, label: str, version: int | None) -> ModelReport:
        """
        Give *label* to *version*; None removes it.

        Raises a 404 for a version that is not on disk, or for a label to remove that there is not.
        """
        return await self._one_at_a_time(lambda: self._label(name, label, version))

    async def _label(self, name: str, label: str, version: int | None) -> ModelReport:
        root, model = self._model(name)
        if version is None and label not in model.serving.labels:
            known = there_are(sorted(model.serving.labels))
            raise HTTPError(404, f"no label {label[:80]!r} of {name}; {known}")
        if version is not None:
            if not is_segment(label) or len(label) > MAX_LABEL_CHARACTERS:
                raise HTTPError(400, f"a label has up to {MAX_LABEL_CHARACTERS} {NAME_CHARACTERS}")
            _number(model, str(version), _on_disk(model))
            if model.serving.labels.get(label) == version:
                return self.report(name)
        return await self._edit(name, lambda: serving_toml.set_label(root, label, version))

    async def _one_at_a_time(
        self, change: Callable[[], Coroutine[Any, Any, ModelReport]]
    ) -> ModelReport:
        """Call *change* after the changes before it, when the files have been read again."""

        async def run() -> ModelReport:
            await self._reconciler.refresh()
            return await change()

        answer: Deferred[Any] = Deferred()
        self._lock.run(lambda: ensureDeferred(run())).addBoth(_fire, answer)
        try:
            # The change itself goes on, also if the client hangs up: the reads must not end.
            return cast("ModelReport", await answer.addTimeout(CHANGE_SECONDS, self._clock))
        except defer.TimeoutError as error:
            raise HTTPError(
                503,
                f"the repository was not read and written within {CHANGE_SECONDS:g} s; "
                "the change may still be made",
            ) from error

    def _model(self, name: str) -> tuple[Path, ModelOnDisk]:
        """Return the serving.toml of the model *name*, and the model."""
        repository = self._reconciler.repository
        if not isinstance(repository, FolderRepository):
            raise HTTPError(
                409,
                "the model is named by an option: "
                "only those of --models and --model-base-path can be changed",
            )
        model = self._reconciler.disk.get(name)
        if model is None:
            raise _unknown(name, sorted(self._reconciler.disk))
        stated_in = repository.places.stated_in
        if stated_in is not None:
            raise HTTPError(
                409, f"{stated_in.name} states which models are served: change it there"
            )
        return repository.places.folder_of(name) / SERVING_TOML, model

    def _wanted(self, model: ModelOnDisk) -> list[int]:
        """
        Return the versions that serving.toml asks for.

        Both those whose last load has failed and those that serve in their place are among them.
        """
        if model.serving.versions is not None:
            return list(model.serving.versions)
        held = self._held(model)
        in_memory = [it for it in held if it.stage is not Stage.FAILED]
        return sorted(wanted(model, held).keys() | wanted(model, in_memory).keys())

    def _labelled(self, model: ModelOnDisk) -> list[int]:
        """Return the versions with a label that can be served."""
        labelled = {*model.serving.labels.values()}
        return sorted(labelled & wanted(model, self._held(model)).keys())

    def _held(self, model: ModelOnDisk) -> list[Held]:
        held = [it.held for it in self._reconciler.held.values()]
        return [it for it in held if it.revision.name == model.name]

    async def _edit(self, name: str, edit: Callable[[], object]) -> ModelReport:
        try:
            await self._reconciler.change(edit)
        except OSError as error:
            raise HTTPError(
                409, f"the repository cannot be written: {error.strerror or error}"
            ) from error
        return self.report(name)


def _fire(result: object, answer: Deferred[Any]) -> None:
    """Fire *answer* with *result*; if it has been given up, log an error that *result* is."""
    if not answer.called:
        answer.callback(result)
    elif isinstance(result, Failure):
        _log.failure("a change of the repository failed after its request had ended", result)


def _on_disk(model: ModelOnDisk) -> list[int]:
    return [it.version for it in model.versions]


def _number(model: ModelOnDisk, version: str, known: Iterable[int]) -> int:
    """Return the number among *known* whose digits are *version*; raises a 404 if there is none."""
    numbers = {str(number): number for number in sorted(known)}
    if version not in numbers:
        raise HTTPError(404, f"no version {version[:80]!r} of {model.name}; {there_are(numbers)}")
    return numbers[version]


def _unknown(name: str, names: Iterable[str]) -> HTTPError:
    """Return the 404 for a model *name* that is not among *names*."""
    return HTTPError(404, f"no model {name[:80]!r}; {there_are(names)}")
