"""A fake of nvidia-ml-py, with the functions of it that the server calls."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace


class NVMLError(Exception):
    """An error of the library."""


@dataclass
class FakeNVML:
    """The driver of as many GPUs as there are *shares*; None: that GPU reports no utilization."""

    shares: tuple[int | None, ...] = (25,)  #: percent
    on_count: Callable[[], object] = field(default=lambda: None)  #: called at each reading
    NVMLError = NVMLError

    def nvmlInit(self) -> None:
        """Do nothing."""

    def nvmlDeviceGetCount(self) -> int:
        """Return the number of GPUs."""
        self.on_count()
        return len(self.shares)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        """Return the handle of a GPU: its index."""
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        """Return the utilization in percent."""
        share = self.shares[handle]
        if share is None:
            raise NVMLError
        return SimpleNamespace(gpu=share)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        """Return bytes of memory."""
        return SimpleNamespace(used=1000 * (handle + 1), total=8000)
