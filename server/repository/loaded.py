"""
One revision of a model in the memory of a server, or one that failed.
"""

from dataclasses import dataclass

from model.repository.snapshot import ModelOnDisk, VersionOnDisk
from model.repository.version_policy import Held, Revision, Stage
from server.model_host import ModelHost

#: A load that takes longer is reported with its duration.
LONG_LOAD_SECONDS = 60.0


@dataclass(eq=False, slots=True)
class Loaded:
    """A revision in memory, or one that failed; changed by the `Reconciler` alone."""

    revision: Revision
    stage: Stage
    model: ModelOnDisk
    version: VersionOnDisk
    host: ModelHost
    began: float  #: when its load began, monotonic time in seconds
    reason: str = ""  #: why it failed
    serving_stamp: str = ""  #: that of the model when it failed
    memory: int = 0  #: bytes by which its load has increased the memory of the process

    @property
    def full_name(self) -> str:
        """The text ``NAME/VERSION``, for the log."""
        return f"{self.revision.name}/{self.revision.version}"

    @property
    def held(self) -> Held:
        """Return what the policy sees of it."""
        return Held(self.revision, self.stage, self.serving_stamp)

    @property
    def is_under_way(self) -> bool:
        """Whether it is being loaded or unloaded."""
        return self.stage not in (Stage.SERVING, Stage.FAILED)

    def long_load(self, now: float) -> str:
        """Return how long it is loading at *now*, in words; "" if that is not long."""
        seconds = now - self.began
        if self.stage is not Stage.LOADING or seconds < LONG_LOAD_SECONDS:
            return ""
        return f"loading for {seconds:.0f} s"
