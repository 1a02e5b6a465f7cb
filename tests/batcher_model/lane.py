"""A lane of a `CheckedBatcher`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from batcher.executor import Piece
from tests.fakes.executor import ManualExecutor, ManualRun, Rows

if TYPE_CHECKING:
    from tests.batcher_model.checked_batcher import CheckedBatcher
    from tests.batcher_model.requests import ModelRun


class CheckedLane(ManualExecutor[int]):
    """A lane whose batches are checked at their launch."""

    def __init__(self, checked: "CheckedBatcher") -> None:
        super().__init__()
        self.checked = checked
        self.launched_runs: list[ModelRun] = []

    def run(self, pieces: Sequence[Piece[int]]) -> Deferred[Sequence[Rows[int]]]:
        """Begin a run; it may end at once."""
        # An exception here would fail the requests instead of the test.
        with self.checked.collecting_failures():
            assert not self.busy, "one run at a time"
        self.runs.append(ManualRun(pieces))
        self.launched_runs.append(self.checked.launched(self.current))
        answer = self.current.answer
        instant = self.checked.setup.instant
        if instant and len(self.runs) % instant == 0:
            self.checked.end(self, "none")
        return answer

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return bool(self.launched_runs) and not self.launched_runs[-1].run.ended
