"""The use of the GPUs: server/metrics/gpu.py."""

from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from server.metrics.gpu import PATIENCE_SECONDS, GPUReading, GPUs, load_nvml
from tests.fakes.gpu import FakeNVML
from tests.fakes.server import Log, SteppedThreads
from tests.fakes.threads import Calls, outcomes

pytestmark = pytest.mark.usefixtures("log")

ONE = (GPUReading(0, 0.25, 1000, 8000),)


class GPUHarness:
    """The GPUs of *nvml*, on a thread that the test steps; an exception is raised by the load."""

    def __init__(self, nvml: object) -> None:
        self.clock, self.calls, self.threads = Clock(), Calls(), SteppedThreads()
        self.loads = 0
        self._nvml = nvml
        new_thread = partial(self.threads, call_from_thread=self.calls, seconds=self.clock.seconds)
        self.gpus = GPUs(self.clock, lambda name: new_thread(name, SimpleQueue()), load=self._load)

    def _load(self) -> Any:  # Any: as `load_nvml`
        self.loads += 1
        if isinstance(self._nvml, Exception):
            raise self._nvml
        return self._nvml

    def begin(self) -> list[object]:
        """Begin to read; return the list that will hold the outcome."""
        return outcomes(ensureDeferred(self.gpus.read()))

    def work(self) -> None:
        """Let the thread do its work."""
        self.threads.step()
        self.calls.drain()

    def read(self) -> tuple[GPUReading, ...]:
        """Return what a reading returns."""
        outcome = self.begin()
        self.work()
        (gpus,) = outcome
        assert isinstance(gpus, (list, tuple))
        return tuple(gpus)


def test_each_gpu_is_read_as_far_as_its_driver_reports_it() -> None:
    """Utilization as a ratio; the library is loaded once."""
    harness = GPUHarness(FakeNVML((25, None)))
    assert harness.read() == (*ONE, GPUReading(1, None, 2000, 8000))
    harness.read()
    assert harness.loads == 1
    harness.gpus.stop()
    harness.work()
    assert harness.threads.running == []


def test_without_a_gpu_no_thread_stays_and_nothing_is_asked_again() -> None:
    """As on a machine without a driver."""
    harness = GPUHarness(None)
    assert harness.read() == ()
    harness.work()
    assert harness.threads.running == []
    assert harness.begin() == [()]
    assert harness.loads == 1


def test_an_unexpected_error_is_logged_once_and_ends_the_readings(log: Log) -> None:
    """A scrape has all other metrics."""
    harness = GPUHarness(OSError("a broken driver"))
    assert harness.read() == ()
    assert len(log.flush_errors()) == 1
    assert harness.begin() == [()]


def test_a_driver_that_hangs_delays_one_scrape_and_not_the_next_ones() -> None:
    """Later readings wait for nothing until the driver answers; then the GPUs are read again."""
    harness = GPUHarness(FakeNVML())
    late = harness.begin()
    assert late == []
    harness.clock.advance(PATIENCE_SECONDS)
    assert late == [()]
    assert harness.begin() == [()]
    harness.work()
    assert harness.read() == ONE


def test_the_real_package_has_the_functions_of_the_fake() -> None:
    """Under the same names; without a driver it is not even imported."""
    real = pytest.importorskip("pynvml")
    names = [name for name in dir(FakeNVML) if name.startswith(("nvml", "NVML"))]
    assert len(names) == 6
    assert [name for name in names if not hasattr(real, name)] == []
    assert issubclass(real.NVMLError, Exception)
    assert {name for name, _ in real.c_nvmlMemory_t._fields_} >= {"used", "total"}
    assert "gpu" in {name for name, _ in real.c_nvmlUtilization_t._fields_}


def test_a_machine_without_the_library_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not the package is installed."""
    monkeypatch.setattr("server.metrics.gpu.LIBRARY", "libnvidia-ml-of-no-machine.so.1")
    assert load_nvml() is None
