"""
Log what is wrong in the folder of a repository, or has no effect: each once when it appears.

Everything here runs on the reactor thread.
"""

from collections.abc import Set

from twisted.logger import Logger

from model.repository.snapshot import WAITS, Snapshot
from server.settings.option import printable

_log = Logger()


class DiskLog:
    """Compares each read of a repository with the last one, and logs the problems that are new."""

    def __init__(self) -> None:
        self._ignored: Set[str] = frozenset()
        self._problems: dict[str, str] = {}  # by model
        self._reasons: dict[str, str] = {}  # of incomplete versions, at the last read
        self._logged: dict[str, str] = {}  # those of them that are logged
        self._noted: set[str] = set()

    def update(self, disk: Snapshot, ignored: Set[str]) -> None:
        """Called after each read, with what is on *disk* and the names that it has *ignored*."""
        for name in sorted(ignored - self._ignored):
            _log.warn(
                "{name} is ignored: the name of a model has letters, digits, '.', '_' and '-', "
                "that of a version is a whole number",
                name=ascii(name),
            )
        self._ignored = ignored
        self._log_notes(disk)
        self._log_problems(disk)
        self._log_incomplete(disk)

    def _log_notes(self, disk: Snapshot) -> None:
        """Log what the files of another server state without effect, each note once."""
        for note in [note for model in disk.values() for note in model.notes]:
            if note not in self._noted:
                self._noted.add(note)
                _log.info("{note}", note=printable(note))

    def _log_problems(self, disk: Snapshot) -> None:
        problems = {name: model.problem for name, model in disk.items() if model.problem}
        for name, problem in problems.items():
            if self._problems.get(name) != problem:
                _log.warn("{problem}", problem=problem)
        for name in self._problems.keys() & disk.keys() - problems.keys():
            _log.info("mended: {problem}", problem=self._problems[name])
        self._problems = problems

    def _log_incomplete(self, disk: Snapshot) -> None:
        """Log the reasons that two reads have found: others change while files are copied."""
        reasons = {
            f"{name}/{version.version}": version.reason
            for name, model in disk.items()
            for version in model.versions
            if version.reason and not version.reason.startswith(WAITS)
        }
        for name, reason in reasons.items():
            if self._reasons.get(name) == reason != self._logged.get(name):
                _log.warn("{name} is incomplete: {reason}", name=name, reason=reason)
                self._logged[name] = reason
        self._logged = {name: it for name, it in self._logged.items() if name in reasons}
        self._reasons = reasons
