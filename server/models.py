"""
The models that take requests, by name, version and label.

A dialect asks for a model by what its request names.  Everything here runs on the reactor thread.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from batcher.error_kind import ErrorKind, RequestError
from server.inference import Inference
from server.request_counts import RequestCounts


class NotServed(RequestError):
    """No version takes the request."""

    #: The counts of the requests for the model that it names; None if there is no such model.
    requests: RequestCounts | None = None


class ModelNotReady(NotServed):
    """No model is ready yet, or not the one that the request names."""

    kind = ErrorKind.UNAVAILABLE
    retry_after = 0.0


class UnknownModel(NotServed):
    """
    No model of this name, or no such version or label of it, takes requests.

    The message states which there are.
    """

    kind = ErrorKind.NOT_FOUND


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of one model that take requests."""

    by_version: Mapping[str, Inference]
    default: str  #: the version for requests that name neither a version nor a label
    labels: Mapping[str, str] = field(default_factory=dict)  #: the version of each label
    awaited: Collection[str] = ()  #: the wanted versions that do not serve yet
    #: The labels without a version, whose version is awaited.
    awaited_labels: Collection[str] = ()


class Models:
    """The models that take requests; those of one name change all at once."""

    def __init__(self, progress: Callable[[], str] = str) -> None:
        """*progress* returns the step of the start, in words, while no model is ready."""
        self._progress = progress
        self._by_name: dict[str, Versions] = {}
        self._awaited: Mapping[str, str] = {}
        #: The counts of the requests for each model, also while the last ones of a model that takes
        #: no more requests are answered.
        self.requests: dict[str, RequestCounts] = {}
        #: Whether the server starts: then an unknown model may still be found.
        self.starting = True

    def route(self, name: str, versions: Versions | None) -> None:
        """Send the requests for the model *name* to *versions* from now on; None: refuse them."""
        if versions is None:
            self._by_name.pop(name, None)
        else:
            self._by_name[name] = versions
            counts = self.requests.setdefault(name, RequestCounts())
            for inference in versions.by_version.values():
                inference.requests = counts

    def await_models(self, states: Mapping[str, str]) -> None:
        """Refuse the requests for these names, with their states in words, as not ready."""
        self._awaited = states
        for name in states:
            self.requests.setdefault(name, RequestCounts())
        for name, counts in list(self.requests.items()):
            if not (name in self._by_name or name in states or counts.in_progress):
                del self.requests[name]

    @property
    def names(self) -> list[str]:
        """The names of the models that take requests, in order."""
        return sorted(self._by_name)

    def versions(self, name: str) -> dict[str, Inference]:
        """
        Return the versions of the model *name* that take requests, in the order of their numbers.

        Empty if the model takes none.
        """
        served = self._by_name.get(name)
        if served is None:
            return {}
        return {it: served.by_version[it] for it in sorted(served.by_version, key=_by_number)}

    def default(self, name: str) -> Inference | None:
        """Return the default version of the model *name*; None if that takes no requests."""
        versions = self._by_name.get(name)
        return None if versions is None else versions.by_version.get(versions.default)

    def any(self) -> Inference:
        """
        Return the default version of the model whose name is first.

        Raises `ModelNotReady` while the server starts, and `UnknownModel` if none is served.
        """
        if not self._by_name:
            raise self._none()
        versions = self._by_name[self.names[0]]
        return versions.by_version[versions.default]

    def find(
        self, name: str | None = None, version: str | None = None, label: str | None = None
    ) -> Inference:
        """
        Return the model that a request names.

        Without *name* it is the only one that serves or is awaited; without *version* and *label*
        its default version.  Raises `UnknownModel` if there is no such model, version or label, or
        if *name* is missing and there are several models; `ModelNotReady` while it is being loaded.
        """
        try:
            return self._find(name, version, label)
        except NotServed as error:
            error.requests = None if name is None else self.requests.get(name)
            raise

    def _find(self, name: str | None, version: str | None, label: str | None) -> Inference:
        if name is None:
            name = self._only_name()
        versions = self._by_name.get(name)
        if versions is None:
            raise self._missing(name)
        if label is not None:
            if label in versions.awaited_labels:
                raise ModelNotReady(f"the version of {name} with the label {label} is not ready")
            if label not in versions.labels:
                raise UnknownModel(
                    f"no label {label[:80]!r} of {name}; {there_are(versions.labels)}"
                )
            version = versions.labels[label]
        if version is None:
            version = versions.default
        inference = versions.by_version.get(version)
        if inference is None and version in versions.awaited:
            raise ModelNotReady(f"version {version} of {name} is not ready")
        if inference is None:
            known = there_are(sorted(versions.by_version, key=_by_number))
            raise UnknownModel(f"no version {version[:80]!r} of {name}; {known}")
        return inference

    def _only_name(self) -> str:
        if not self._by_name:
            raise self._none()
        names = self.names
        if self.starting and self._awaited.keys() - names:
            # The answer must not depend on which model is loaded first.
            raise ModelNotReady(f"the models are not ready: {self._progress()}")
        if len(names) > 1:
            raise UnknownModel(
                f"the request names no model, post to /models/NAME; {there_are(names)}"
            )
        return next(iter(self._by_name))

    def _none(self) -> RequestError:
        if self.starting or self._awaited:
            return ModelNotReady(f"the server is not ready: {self._progress()}")
        return UnknownModel("no model is served")

    def _missing(self, name: str) -> RequestError:
        state = self._awaited.get(name)
        if state is not None:
            return ModelNotReady(f"{name} is not ready: {state}")
        if self.starting:
            return ModelNotReady(f"the server is not ready: {self._progress()}")
        return UnknownModel(f"no model {name[:80]!r} is served; {there_are(self.names)}")


def there_are(names: Iterable[str]) -> str:
    """Return which names there are, in words; at most 20 of them."""
    known = list(names)
    if not known:
        return "there are none"
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    return f"there are: {', '.join(known[:20])}{more}"


def _by_number(version: str) -> tuple[int, str]:
    return (int(version) if version.isdecimal() else 0, version)
