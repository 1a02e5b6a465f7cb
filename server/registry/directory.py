"""
All workers of all sources, and the choice of one for the next request.

A worker that several sources list, by the same id or the same address, counts once.  The workers of
a source that cannot be reached stay.  Runs on the reactor thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from batcher.error_kind import ErrorKind, RequestError
from server.discovery.members import Members
from server.discovery.worker_record import ModelLoad, WorkerRecord
from server.registry.choice import Backlog, Standing, is_better, two_of

#: Seconds in the Retry-After header when there is no worker.
RETRY_SECONDS = 1.0

#: From this number of workers on, the sources are not merged again at each change, but when so many
#: seconds for each worker have passed: a merge takes a few microseconds for each, and after a start
#: thousands of workers register within seconds.
MANY_WORKERS = 500
MERGE_INTERVAL_PER_WORKER = 5e-5


class _Unlisted(Enum):
    """Stands for all names of models that no worker lists."""

    UNLISTED = auto()


_UNLISTED = _Unlisted.UNLISTED


class NoWorker(RequestError):
    """No worker takes requests now; one may be registered soon."""

    kind = ErrorKind.UNAVAILABLE
    retry_after = RETRY_SECONDS


class NoSuchModel(RequestError):
    """All workers are known, and none has the model; the message has the names that there are."""

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

    def may_take(self, model: str | None) -> bool:
        """Return whether it is still listed, and may take a request to *model*."""
        record = self.members.workers.get(self.id)
        # One without any model takes none.
        return record is not None and record.serves(model) and record.models != {}

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
        self._candidates: dict[str | _Unlisted | None, list[Listed]] = {}
        self._listed_names: frozenset[str] | None = None  #: see `_names`
        self._records: Sequence[WorkerRecord] | None = None  #: see `merged`
        self._versions: list[int] = []
        self._next_merge = 0.0

    def add(self, members: Members) -> None:
        """Add a source; of two that list the same worker, see `listed`."""
        self.sources.append(members)

    def listed(self) -> list[Listed]:
        """
        Return all workers.

        Of several records of one worker, one whose models are known is preferred, then one of a
        source that is up to date, and then the one that was written last.
        """
        self._update()
        return [it for it in self._listed.values() if it.id in it.members.workers]

    def workers(self) -> list[WorkerRecord]:
        """Return the records of all workers."""
        return [it.record for it in self.listed()]

    def merged(self) -> Sequence[WorkerRecord]:
        """
        Return the records of all workers, but without later changes of their waits.

        The sequence is the same until a worker is added or removed, or its address or models
        change; of many workers, some time later: see `MERGE_INTERVAL_PER_WORKER`.
        """
        self._update()
        if self._records is None:
            self._records = tuple(self.workers())
        return self._records

    def models(self) -> list[str]:
        """Return the names of all models that are known, sorted."""
        self._update()
        return sorted(self._names())

    def _names(self) -> frozenset[str]:
        """Return the names of all models that were listed when the sources were merged."""
        if self._listed_names is None:
            records = self.workers()
            self._listed_names = frozenset(name for it in records for name in it.models or ())
        return self._listed_names

    def choose(self, model: str | None) -> WorkerRecord:
        """
        Return the worker for the next request to *model*, or to no named model if it is None.

        Raises `NoWorker` if there is none, or if a source that is away may have one, and
        `NoSuchModel` if there are workers without this model.
        """
        self._update()
        drawn = self._drawn(model)
        if not drawn or not all(it.may_take(model) for it in drawn):  # it has just changed
            self._update(at_once=True)
            drawn = self._drawn(model)
        if not drawn:
            raise self._nothing_for(model)
        now = self._seconds()
        chosen, other = drawn[0], drawn[-1]
        if is_better(other.standing(model, now), chosen.standing(model, now)):
            chosen = other
        self.choices += 1
        chosen.choose(model, self.choices, now)
        return chosen.record

    def _drawn(self, model: str | None) -> tuple[Listed, ...]:
        """Return two of the candidates for *model*, or the only one, or none."""
        # Names that no worker lists have one entry: clients can make up any number of them.
        key = model if model is None or model in self._names() else _UNLISTED
        candidates = self._candidates.get(key)
        if candidates is None:
            candidates = [it for it in self._listed.values() if it.may_take(model)]
            self._candidates[key] = candidates
        if len(candidates) < 2:
            return tuple(candidates)
        one, other = two_of(len(candidates), self._random)
        return candidates[one], candidates[other]

    def _nothing_for(self, model: str | None) -> RequestError:
        if model is None or not self._listed:
            return NoWorker("no worker takes requests now")
        away = ", ".join(it.source for it in self.sources if it.away)
        if away:
            return NoWorker(f"no known worker has the model {model[:80]!r}; away: {away}")
        names = self.models()
        known = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if names[20:] else "")
        return NoSuchModel(f"no worker has the model {model[:80]!r}; there are: {known or 'none'}")

    def _update(self, *, at_once: bool = False) -> None:
        """
        Merge the sources again if any of them has changed.

        Unless *at_once*, many workers are not merged again before some time has passed.
        """
        versions = [it.version for it in self.sources]
        now = self._seconds()
        if versions == self._versions or (now < self._next_merge and not at_once):
            return
        self._versions = versions
        self._merge()
        count = len(self._listed)
        self._next_merge = now + (
            count * MERGE_INTERVAL_PER_WORKER if count >= MANY_WORKERS else 0.0
        )

    def _merge(self) -> None:
        """Make the list of all workers; keep what was handed out to those that stay."""
        by_address: dict[tuple[str, int], Listed] = {}
        ids: set[str] = set()
        for listed in sorted(self._all(), key=_preference):
            address = listed.record.host, listed.record.port
            if address not in by_address and listed.id not in ids:
                by_address[address] = listed
                ids.add(listed.id)
        for address, listed in by_address.items():
            former = self._listed.get(address)
            if former is not None and former.id == listed.id:
                former.members = listed.members
                by_address[address] = former
        self._listed = by_address
        self._candidates = {}
        self._records = self._listed_names = None

    def _all(self) -> list[Listed]:
        return [Listed(members, id_) for members in self.sources for id_ in members.workers]


def _preference(listed: Listed) -> tuple[bool, bool, float]:
    return listed.record.models is None, bool(listed.members.away), -listed.written
