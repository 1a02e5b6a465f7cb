"""
Log which workers come and go, and which sources are away.

Sources change their workers at any moment, some of them all at once; so they are compared once a
second, and what has changed is logged then, in a limited number of lines.  Runs on the reactor
thread.
"""

from collections.abc import Mapping, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from server.discovery.engine_url import join_host_port
from server.discovery.members import NOT_READ, Members
from server.discovery.worker_record import WorkerRecord
from server.settings.option import printable

#: Seconds between two comparisons.
INTERVAL = 1.0

#: The most lines in one comparison; the rest is counted.
MAX_LINES = 20

_log = Logger()


class WorkerLog:
    """Logs the changes of *sources*, to which more may be added."""

    def __init__(self, sources: Sequence[Members], clock: IReactorTime) -> None:
        self._sources = sources
        self._seen: dict[Members, tuple[int, Mapping[str, WorkerRecord], bool]] = {}
        self._reasons: dict[str, str] = {}
        self._loop = LoopingCall(self._compare)
        self._loop.clock = clock

    def gone(self, worker_id: str, reason: str) -> None:
        """Note why a worker is removed, for its line."""
        self._reasons[worker_id] = reason

    def start(self) -> None:
        """Log the workers and their changes from now on; sources have some time to begin."""
        self._loop.start(INTERVAL, now=False).addErrback(_state_error)

    def stop(self) -> None:
        """Log what has changed since the last comparison, and stop."""
        if self._loop.running:
            self._loop.stop()
            self._compare()

    def _compare(self) -> None:
        lines = [line for it in self._sources for line in self._changes(it)]
        self._reasons.clear()
        for line in lines[:MAX_LINES]:
            _log.info("{line}", line=printable(line))
        if lines[MAX_LINES:]:
            _log.info("+{more} more changes of workers", more=len(lines) - MAX_LINES)

    def _changes(self, members: Members) -> list[str]:
        version, former, was_away = self._seen.get(members, (-1, {}, False))
        lines = []
        if bool(members.away) != was_away:
            lines.append(_state_line(members))
        if members.version != version:
            now = dict(members.workers)
            lines += [
                f"{members.source}: {_name(former[it])} is gone: "
                f"{self._reasons.get(it, 'it is no longer listed')}"
                for it in former.keys() - now.keys()
            ]
            lines += [
                f"{members.source}: {_name(now[it])} is listed" for it in now.keys() - former.keys()
            ]
            former = now
        self._seen[members] = members.version, former, bool(members.away)
        return lines


def _state_error(failure: Failure) -> None:
    _log.failure("the changes of workers are no longer logged", failure)


def _name(record: WorkerRecord) -> str:
    return f"worker {record.id} at {join_host_port(record.host, record.port)}"


def _state_line(members: Members) -> str:
    if not members.away:
        return f"{members.source}: up to date again"
    if members.away == NOT_READ:
        return f"{members.source}: {NOT_READ}"
    count = len(members.workers)
    return f"{members.source}: away: {members.away}; its last {count} workers are handed out"
