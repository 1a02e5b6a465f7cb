"""
Notice changes of a repository at once, where the kernel reports them (inotify).

Without these notices, as on a network file system, changes are found when the repository is read
the next time.  Everything here runs on the reactor thread.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.inotify import (
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_ISDIR,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    INotify,
)
from twisted.logger import Logger
from twisted.python._inotify import INotifyError  # Twisted exports it nowhere else
from twisted.python.filepath import FilePath

_log = Logger()

_EVENTS = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE


class RepositoryWatch:
    """Watches the folder of a repository, and those of its models."""

    def __init__(
        self,
        root: Path,
        reactor: Any,  # Any: Twisted has no type with readers
        *,
        renamed: Callable[[Path], object],
        notice: Callable[[], object],
    ) -> None:
        """*renamed* is called with a path that was renamed into place, *notice* at any change."""
        self._root = root
        self._reactor = reactor
        self._renamed = renamed
        self._notice = notice
        self._inotify: INotify | None = None

    def start(self) -> None:
        """Begin to watch; if the kernel refuses, log that and do nothing."""
        try:
            inotify = self._inotify = INotify(self._reactor)
            inotify.startReading()
            inotify.watch(FilePath(str(self._root)), _EVENTS, callbacks=[self._changed])
            for path in self._root.iterdir():
                # A folder that is gone since, or that cannot be read.
                with suppress(OSError, INotifyError):
                    if path.is_dir():
                        inotify.watch(FilePath(str(path)), _EVENTS, callbacks=[self._changed])
        except (OSError, INotifyError) as error:
            _log.info(
                "changes in {root} are found by polling: {error}", root=self._root, error=error
            )
            self.stop()

    def stop(self) -> None:
        """Watch no longer."""
        if self._inotify is not None:
            self._inotify.loseConnection()
            self._inotify = None

    def _changed(self, watch: object, path: FilePath[bytes], events: int) -> None:
        """Called for each change; *path* is what was changed."""
        changed = Path(path.asTextMode().path)
        if events & IN_MOVED_TO:
            self._renamed(changed)
        if events & IN_ISDIR and changed.parent == self._root:
            # Twisted would keep the watch of a folder that is gone, and watch no new one there.
            # Not in this callback: Twisted may remove a watch after it.
            self._reactor.callLater(0, self._restart)
        self._notice()

    def _restart(self) -> None:
        if self._inotify is not None:
            self.stop()
            self.start()
