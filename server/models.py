"""
The models that are served, by name and version.

A dialect asks for a model by what its request names.  Everything here runs on the reactor thread.
"""

from collections.abc import Callable

from batcher.error_kind import ErrorKind, RequestError
from server.inference import Inference


class ModelNotReady(RequestError):
    """No model is ready yet."""

    kind = ErrorKind.UNAVAILABLE
    retry_after = 0.0


class UnknownModel(RequestError):
    """No model of this name, or no such version of it, is served; the message states which are."""

    kind = ErrorKind.NOT_FOUND


class Models:
    """The models that are ready; requests that name no model are for the one added first."""

    def __init__(self, progress: Callable[[], str] = str) -> None:
        """*progress* returns the step of the start, in words, while no model is ready."""
        self._progress = progress
        # The versions of a name are in the order in which they were added.
        self._by_name: dict[str, dict[str, Inference]] = {}

    def add(self, inference: Inference) -> None:
        """Serve the model of *inference* under its name and version, from now on."""
        model = inference.model
        versions = self._by_name.setdefault(model.name, {})
        versions.pop(model.version, None)
        versions[model.version] = inference

    def remove(self, inference: Inference) -> None:
        """Serve the model of *inference* no longer; do nothing if another one took its place."""
        model = inference.model
        versions = self._by_name.get(model.name, {})
        if versions.get(model.version) is inference:
            del versions[model.version]
            if not versions:
                del self._by_name[model.name]

    def find(self, name: str | None = None, version: str | None = None) -> Inference:
        """
        Return the model that a request names.

        Raises `UnknownModel` if there is none, and `ModelNotReady` while no model is served.
        Without *name* it is the model whose name was added first, without *version* the version
        of *name* that was added last.
        """
        if not self._by_name:
            raise ModelNotReady(f"the model is not ready yet: {self._progress()}")
        if name is None:
            name = next(iter(self._by_name))
        versions = self._by_name.get(name)
        if not versions:
            known = ", ".join(self._by_name)
            raise UnknownModel(f"no model {name[:80]!r} is served; there are: {known}")
        if version is None:
            return next(reversed(versions.values()))
        if version not in versions:
            known = ", ".join(versions)
            raise UnknownModel(f"no version {version[:80]!r} of {name}; there are: {known}")
        return versions[version]
