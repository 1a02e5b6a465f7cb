"""
All workers of all sources, and the choice of one for the next request.

A worker that several sources list, by the same id or the same address, counts once.  The workers of
a source that cannot be reached stay.  Runs on the reactor thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from batcher.error_kind import ErrorKind, RequestError
from server.discovery.members import Members
from server.discovery.worker_record import ModelLoad, WorkerRecord
from server.registry.choice import Backlog, Standing, is_better, two_of

#: Seconds in the Retry-After header when there is no worker.
RETRY_SECONDS = 1.0


class NoWorker(RequestError):
    """No worker takes requests now; one may be registered soon."""

    kind = ErrorKind.UNAVAILABLE
    retry_after = RETRY_SECONDS


class NoSuchModel(RequestError):
    """There are workers, and none has the model; the message has the names that there are."""

    kind = ErrorKind.NOT_FOUND


@dataclass(slots=True)
class Listed:
    """One worker, and what was handed out to it."""

    members: Members  #: the source that its record is read from
    id: str
    turn: int = 0  #: the number of its last choice
    backlog: Backlog = field(default_factory=Backlog)
    _reported: float = -1.0  #: when the report was written that `backlog` follows
    _mean: tuple[WorkerRecord, ModelLoad] | None = None

    @property
    def record(self) -> WorkerRecord:
        """The record as last written."""
        return self.members.workers[self.id]

    @property
    def written(self) -> float:
        """When the record was written, in seconds of the clock."""
        return self.members.written[self.id]

    def standing(self, model: str | None, now: float) -> Standing:
        """Return what decides about it for a request to *model* at *now*."""
        load = self.load(model)
        # A worker that reports no number, such as one of seaport, must not look idle for ever.
        if load is None or not (load.expected_wait or load.added_wait):
            return Standing(None, self.turn)
        return Standing(load.expected_wait + self._current_backlog().after(now), self.turn)

    def choose(self, model: str | None, turn: int, now: float) -> None:
        """Count a choice of this worker."""
        load = self.load(model)
        self._current_backlog().add(0.0 if load is None else load.added_wait, now)
        self.turn = turn

    def load(self, model: str | None) -> ModelLoad | None:
        """
        Return the load of *model*; None if it is not known.

        Without a model it is the mean of all: the registry does not know which one the worker will
        use, and the mean changes with each of them.
        """
        record = self.record
        if not record.models:
            return None
        if model is not None:
            return record.models.get(model)
        if self._mean is None or self._mean[0] is not record:
            self._mean = record, _mean(tuple(record.models.values()))
        return self._mean[1]

    def _current_backlog(self) -> Backlog:
        """Return the backlog, empty if a report was written since the last call."""
        if self._reported != self.written:
            self._reported = self.written
            self.backlog = Backlog()
        return self.backlog


def _mean(loads: Sequence[ModelLoad]) -> ModelLoad:
    return ModelLoad(
        sum(it.expected_wait for it in loads) / len(loads),
        sum(it.added_wait for it in loads) / len(loads),
    )


class Directory:
    """The workers of all sources; a choice takes the same time for any number of workers."""

    def __init__(self, seconds: Callable[[], float], random: Callable[[], float]) -> None:
        """
        *seconds* returns the monotonic time, *random* a number from 0 to 1, without 1.
        """
        self._seconds = seconds
        self._random = random
        self.sources: list[Members] = []
        self.choices = 0  #: so far
        self._listed: dict[tuple[str, int], Listed] = {}
        #: The candidates for each model that was asked for; None: requests that name no model.
        self._candidates: dict[str | None, list[Listed]] = {}
        self._versions: list[int] = []

    def add(self, members: Members) -> None:
        """Add a source; of two that list the same worker, see `listed`."""
        self.sources.append(members)

    def listed(self) -> list[Listed]:
        """
        Return all workers.

        Of several records of one worker, the one whose models are known is preferred, and then the
        one that was written last.
        """
        self._update()
        return list(self._listed.values())

    def workers(self) -> list[WorkerRecord]:
        """Return the records of all workers."""
        return [it.record for it in self.listed()]

    def models(self) -> list[str]:
        """Return the names of all models that are known, sorted."""
        return sorted({name for record in self.workers() for name in record.models or ()})

    def choose(self, model: str | None) -> WorkerRecord:
        """
        Return the worker for the next request to *model*, or to no named model if it is None.

        Raises `NoWorker` if there is none, and `NoSuchModel` if there are workers without this
        model.
        """
        self._update()
        candidates = self._candidates.get(model)
        if candidates is None:
            candidates = [it for it in self._listed.values() if _may_take(it.record, model)]
            if not candidates:  # not kept, so that unknown names use no memory
                raise self._nothing_for(model)
            self._candidates[model] = candidates
        now = self._seconds()
        chosen = candidates[0]
        if len(candidates) > 1:
            first, second = two_of(len(candidates), self._random)
            one, other = candidates[first], candidates[second]
            is_first = is_better(one.standing(model, now), other.standing(model, now))
            chosen = one if is_first else other
        self.choices += 1
        chosen.choose(model, self.choices, now)
        return chosen.record

    def _nothing_for(self, model: str | None) -> RequestError:
        if model is None or not self._listed:
            return NoWorker("no worker takes requests now")
        names = self.models()
        known = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if names[20:] else "")
        return NoSuchModel(f"no worker has the model {model[:80]!r}; there are: {known or 'none'}")

    def _update(self) -> None:
        """Merge the sources again if any of them has changed."""
        versions = [it.version for it in self.sources]
        if versions == self._versions:
            return
        self._versions = versions
        by_address: dict[tuple[str, int], Listed] = {}
        ids: set[str] = set()
        for listed in sorted(self._all(), key=_preference):
            address = listed.record.host, listed.record.port
            if address not in by_address and listed.id not in ids:
                by_address[address] = listed
                ids.add(listed.id)
        for address, listed in by_address.items():
            former = self._listed.get(address)
            if former is not None and former.id == listed.id:  # keep what was handed out
                former.members = listed.members
                by_address[address] = former
        self._listed = by_address
        self._candidates = {}

    def _all(self) -> list[Listed]:
        return [Listed(members, id_) for members in self.sources for id_ in members.workers]


def _preference(listed: Listed) -> tuple[bool, float]:
    return listed.record.models is None, -listed.written


def _may_take(record: WorkerRecord, model: str | None) -> bool:
    """Return whether *record* may take a request to *model*; one without any model takes none."""
    return record.serves(model) and record.models != {}
