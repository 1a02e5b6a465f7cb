"""A decode pool whose thread the test steps."""

from itertools import count

from model.execution.decode_pool import DecodePool
from tests.fakes.threads import Calls, ManualThreads


class SteppedPool:
    """A started pool, its thread, and the calls that wait for the reactor; all stepped by hand."""

    def __init__(self) -> None:
        self.threads = ManualThreads()
        self.calls = Calls()
        ticks = count(step=2.0)
        self.pool = DecodePool(self.calls, 1, pool=self.threads, clock=lambda: next(ticks))
        self.pool.start()

    def finish(self) -> None:
        """Run the oldest job, and deliver its result."""
        self.threads.step()
        self.calls.step()
