"""
Read the use of the GPUs through NVML, the library of NVIDIA's driver, where there is one.

The package nvidia-ml-py, which calls it, is imported only if the library is installed.  A call of
NVML may take seconds, as the first one does, or hang with its driver: all are made on a thread of
their own, and a scrape waits for `PATIENCE_SECONDS` at most.
"""

import ctypes
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from twisted.internet.defer import TimeoutError as TooLate
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from model.execution.thread import ModelThread
from server.metrics.declared import GPU_MEMORY_TOTAL, GPU_MEMORY_USED, GPU_UTILIZATION
from server.metrics.readings import Readings

_log = Logger()

#: The library of the driver.
LIBRARY = "libnvidia-ml.so.1"

#: How long a scrape waits for the GPUs.
PATIENCE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class GPUReading:
    """The use of one GPU; None: its driver does not report it."""

    index: int  #: as in nvidia-smi
    utilization: float | None  #: from 0 to 1
    used: int | None  #: bytes of memory
    total: int | None

    def add_to(self, readings: Readings) -> None:
        """Add the series of this GPU to *readings*."""
        series = (
            (GPU_UTILIZATION, self.utilization),
            (GPU_MEMORY_USED, self.used),
            (GPU_MEMORY_TOTAL, self.total),
        )
        for metric, value in series:
            if value is not None:
                readings.add(metric, value, str(self.index))


def load_nvml() -> Any:  # Any: nvidia-ml-py has no types
    """Return nvidia-ml-py, ready to use; None if there is no driver, GPU or package."""
    try:
        ctypes.CDLL(LIBRARY)
        nvml = import_module("pynvml")
    except (OSError, ImportError):
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml


class GPUs:
    """Reads the GPUs of the machine; inert until the first `read`.  Used on the reactor thread."""

    def __init__(
        self,
        clock: IReactorTime,
        new_thread: Callable[[str], ModelThread],
        load: Callable[[], Any] = load_nvml,
    ) -> None:
        """*load* is as `load_nvml`; it is called on the thread of the GPUs."""
        self._clock = clock
        self._new_thread = new_thread
        self._load = load
        self._nvml: Any = None
        self._thread: ModelThread | None = None
        self._busy = False  # whether a reading is under way; the thread ends it
        self._absent = False  # whether there is nothing to read, now and later

    async def read(self) -> Sequence[GPUReading]:
        """
        Return the use of each GPU; nothing if there is none, or if it takes too long.

        Never raises.
        """
        if self._absent or self._busy:
            return ()
        if self._thread is None:
            self._thread = self._new_thread("gpu")
            self._thread.start()
        self._busy = True
        try:
            gpus = await self._thread.call(self._read).addTimeout(PATIENCE_SECONDS, self._clock)
        except TooLate:
            return ()
        except Exception:  # noqa: BLE001 - a scrape must not fail because of the GPUs
            _log.failure("the GPUs cannot be read; their metrics are left out from now on")
            gpus = None
        if gpus is None:
            self._absent = True
            self.stop()
            return ()
        return gpus

    def stop(self) -> None:
        """End the thread when its reading ends; nothing waits for it, because it may hang."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def _read(self) -> Sequence[GPUReading] | None:
        """Return the use of each GPU, None if there is none; called on the thread of the GPUs."""
        try:
            if self._nvml is None:
                self._nvml = self._load()
            return None if self._nvml is None else read_gpus(self._nvml)
        finally:
            self._busy = False


def read_gpus(nvml: Any) -> list[GPUReading]:
    """Return the use of each GPU, as *nvml* reports it."""
    gpus = []
    for index in range(nvml.nvmlDeviceGetCount()):
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
        utilization = used = total = None
        with suppress(nvml.NVMLError):  # as a GPU that is split into instances does
            utilization = nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100
        with suppress(nvml.NVMLError):
            memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
            used, total = memory.used, memory.total
        gpus.append(GPUReading(index, utilization, used, total))
    return gpus
