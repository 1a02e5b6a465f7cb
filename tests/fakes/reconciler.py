"""A repository that the test changes, and the models in memory, on threads that the test steps."""

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, ensureDeferred

from model.backend import LoadedModel, OnProgress
from model.repository.serving_toml import ServingFacts
from model.repository.snapshot import ModelOnDisk, Snapshot, VersionOnDisk
from server.inference import Inference
from server.model_host import ModelHost, stop_serving
from server.model_loading import Loader
from server.models import Models, Versions
from server.repository.polling import POLL_SECONDS
from server.repository.reconciler import Reconciler
from server.settings.table import Settings
from tests.fakes.model import FakeRunner
from tests.fakes.model_host import IMAGE, ModelHostHarness
from tests.fakes.server import SIGNATURE, FakeLoader, Labels, classify
from tests.fakes.threads import outcomes


class FakeRepository:
    """
    What a repository holds, as the test has set it; each load is recorded.

    *spend* is called with the rows of each run.
    """

    changes = True

    def __init__(self, spend: Callable[[int], object]) -> None:
        self.disk: dict[str, ModelOnDisk] = {}
        self.error: Exception | None = None  #: raised by reads
        self.load_errors: dict[str, Exception] = {}  #: by the stamp of the files
        self.loads: list[str] = []  #: the stamps, in the order of their loads
        self.runners: dict[str, FakeRunner] = {}  #: those of the last loads, by stamp
        self.runs_after_close = 0
        self.opened: list[FakeRunner] = []
        self._spend = spend
        self._writes = 0
        self.ignored: Set[str] = frozenset()
        self.checks: list[str] = []  #: the stamps, in the order of their checks

    def put(
        self,
        name: str,
        version: int,
        stamp: str,
        *,
        complete: bool = True,
        checked: bool = True,
        size: int = 0,
        reason: str = "",
    ) -> None:
        """Write the files of a version, in the place of those that there were."""
        model = self.disk.get(name) or ModelOnDisk(name, (), ServingFacts(), "")
        new = VersionOnDisk(version, Path(stamp), stamp, size, complete, checked, reason)
        others = [it for it in model.versions if it.version != version]
        ordered = sorted([*others, new], key=lambda it: it.version)
        self.disk[name] = replace(model, versions=tuple(ordered))

    def write(self, name: str, serving: ServingFacts) -> None:
        """Write the serving.toml of a model."""
        self._writes += 1
        stamp = str(self._writes)
        self.disk[name] = replace(self.disk[name], serving=serving, serving_stamp=stamp)

    def read(self) -> Snapshot:
        """Return what the test has set."""
        if self.error is not None:
            raise self.error
        return dict(self.disk)

    def check(self, version: VersionOnDisk) -> None:
        """Record, and let the hashes be true from the next read on."""
        self.checks.append(version.stamp)
        for name, model in self.disk.items():
            versions = [replace(it, checked=True) if it == version else it for it in model.versions]
            self.disk[name] = replace(model, versions=tuple(versions))

    def relative(self, text: str) -> str:
        """Return *text* without the path of the repository."""
        return text.replace("/srv/models/", "")

    def settings_of(self, model: ModelOnDisk, version: VersionOnDisk) -> Settings:
        """Return the defaults."""
        return Settings()

    def loader_of(self, model: ModelOnDisk, version: VersionOnDisk) -> Loader:
        """Return a loader that records."""

        def spend(rows: int) -> None:
            self.runs_after_close += runner.closed
            self._spend(rows)

        runner = FakeRunner(SIGNATURE, spend=spend)
        load = FakeLoader(runner)

        def loader(settings: Settings, on_progress: OnProgress) -> LoadedModel:
            self.loads.append(version.stamp)
            load.error = self.load_errors.get(version.stamp)
            loaded = replace(
                load(settings, on_progress), name=model.name, version=str(version.version)
            )
            self.runners[version.stamp] = runner
            self.opened.append(runner)
            return loaded

        return loader


class RecordedModels(Models):
    """Records the versions to which the requests for each model are sent, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.routes: list[tuple[str, list[str] | None]] = []

    def route(self, name: str, versions: Versions | None) -> None:
        """Record the versions; None: requests are refused."""
        super().route(name, versions)
        self.routes.append((name, None if versions is None else sorted(versions.by_version)))


class ReconcilerHarness(ModelHostHarness):
    """
    A reconciler with a `FakeRepository`, whose threads, runs and timers the test steps.

    A version is proven by a run; it fails with the error in `wrong` for the stamp of its files.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        changes: bool = True,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        super().__init__(monkeypatch)
        self.hosts.clear()
        self.repository = FakeRepository(self.spend)
        self.repository.changes = changes
        self.models = RecordedModels()
        self.wrong: dict[str, Exception] = {}
        self.proof_weights: list[float] = []  #: of each version, while it was proven
        self.available: int | None = None  #: bytes of memory
        monkeypatch.setattr("server.repository.reconciler.available_bytes", lambda: self.available)
        monkeypatch.setattr("server.repository.reconciler.resident_bytes", lambda: 0)
        self.reconciler = Reconciler(
            self.repository,
            self.models,
            clock=self.clock,
            new_thread=self.lanes.new_thread,
            make_host=self._make_host,
            prove=self._prove,
            on_progress=self.lines.append,
            poll_seconds=poll_seconds,
        )

    def _make_host(self, model: ModelOnDisk, version: VersionOnDisk, beside: bool) -> ModelHost:
        return ModelHost(
            self.repository.settings_of(model, version),
            clock=self.clock,
            lanes=self.lanes,
            pool=self.pool,
            on_progress=self.lines.append,
            load=self.repository.loader_of(model, version),
            beside=beside,
        )

    async def _prove(self, inference: Inference, version: VersionOnDisk) -> None:
        self.proof_weights.append(inference.model.queues.share.account.weight)
        await classify(inference, IMAGE, 1)
        if error := self.wrong.get(version.stamp):
            raise error

    def begin(self) -> list[object]:
        """Begin the start; return the list that will hold its outcome."""
        self.pool.start()
        return outcomes(ensureDeferred(self.reconciler.start()))

    def start(self) -> None:
        """Start, and run until the server is ready."""
        started = self.begin()
        self.turn()
        assert started == [None]

    def poll(self) -> None:
        """Let the time of the next read come, and do what follows from it."""
        self.clock.advance(POLL_SECONDS)
        self.turn()

    def stop(self) -> list[object]:
        """Begin the stop; return the list that will hold its outcome."""

        async def stop() -> None:
            await self.reconciler.stop()
            await stop_serving(self.reconciler.hosts, self.lanes, self.pool)

        return outcomes(ensureDeferred(stop()))

    def ask(self, name: str = "pets", **names: str) -> Deferred[Labels]:
        """Request the best label of an image from the version that *names* name."""
        return classify(self.models.find(name, **names), IMAGE, 1)

    def served(self, name: str = "pets", **names: str) -> str:
        """Return the version to which such a request is sent."""
        return self.models.find(name, **names).model.version

    def reasons(self) -> dict[str, str]:
        """Return why versions have failed, by the stamps of their files."""
        held = self.reconciler.held.values()
        return {it.version.stamp: it.reason for it in held if it.reason}

    def closed(self) -> dict[str, int]:
        """Return how often each model was closed, by the stamps of their files."""
        return {stamp: runner.closed for stamp, runner in self.repository.runners.items()}

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Stop after the block, and check that nothing is left."""
        yield
        stopped = self.stop()
        self.turn()
        assert stopped == [None]
        self.check_ended()

    def check_ended(self) -> None:
        """Check that no thread runs, and that each model was closed once, after its last run."""
        assert self.threads.running == []
        assert not self.decoders.alive()
        assert [runner.closed for runner in self.repository.opened] == [1] * len(
            self.repository.opened
        )
        assert self.repository.runs_after_close == 0
        assert self.clock.getDelayedCalls() == []


def latest(count: int = 1, *, weight: float = 1.0, **labels: int) -> ServingFacts:
    """Return the facts of the newest *count* versions."""
    return ServingFacts(latest=count, labels=labels, weight=weight)


def listed(versions: Sequence[int], **labels: int) -> ServingFacts:
    """Return the facts of a list of *versions*."""
    return ServingFacts(latest=None, versions=tuple(versions), labels=labels)
