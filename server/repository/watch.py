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

from model.errors import ModelError
from model.repository.model_places import ModelPlaces

_log = Logger()

_EVENTS = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE


class RepositoryWatch:
    """
    Watches the folders of the models of a repository, and the folder in which new ones appear.

    The models that a model config file lists are those of the start.
    """

    def __init__(
        self,
        places: ModelPlaces,
        reactor: Any,  # Any: Twisted has no type with readers
        *,
        renamed: Callable[[Path], object],
        notice: Callable[[], object],
    ) -> None:
        """*renamed* is called with a path that was renamed into place, *notice* at any change."""
        self._places = places
        self._reactor = reactor
        self._renamed = renamed
        self._notice = notice
        self._inotify: INotify | None = None

    def start(self) -> None:
        """Begin to watch; if the kernel refuses, log that and do nothing."""
        try:
            inotify = self._inotify = INotify(self._reactor)
            inotify.startReading()
            if self._places.root is not None:
                self._follow(inotify, self._places.root)
            for place in self._places.find().values():
                # A folder that is gone since, or that cannot be read.
                with suppress(OSError, INotifyError):
                    if place.folder.is_dir():
                        self._follow(inotify, place.folder)
        except (OSError, INotifyError, ModelError) as error:
            _log.info(
                "changes in {name} are found by polling: {error}",
                name=self._places.name,
                error=error,
            )
            self.stop()

    def _follow(self, inotify: INotify, folder: Path) -> None:
        inotify.watch(FilePath(str(folder)), _EVENTS, callbacks=[self._changed])

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
        if events & IN_ISDIR and changed.parent == self._places.root:
            # Twisted would keep the watch of a folder that is gone, and watch no new one there.
            # Not in this callback: Twisted may remove a watch after it.
            self._reactor.callLater(0, self._restart)
        self._notice()

    def _restart(self) -> None:
        if self._inotify is not None:
            self.stop()
            self.start()
