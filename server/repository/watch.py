"""
Notice changes of a repository at once, where the kernel reports them (inotify).

Without these notices, as on a network file system, changes are found when the repository is read
the next time.  Everything here runs on the reactor thread and lists no folder, which may hang.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.inotify import (
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    INotify,
)
from twisted.logger import Logger
from twisted.python._inotify import INotifyError  # Twisted exports it nowhere else
from twisted.python.filepath import FilePath

from model.repository.model_places import ModelPlaces

_log = Logger()

_ADDED = IN_CREATE | IN_MOVED_TO
_EVENTS = _ADDED | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE


class _Notices(INotify):
    """
    An INotify that goes on when one of its folders is deleted.

    Twisted closes it then, and the notices of other folders would be lost until the next one.
    """

    def loseConnection(self) -> None:
        """Called when a folder that it watches is deleted: do nothing."""

    def close(self) -> None:
        """Watch nothing any more."""
        super().loseConnection()  # type: ignore[no-untyped-call]  # Twisted's


class RepositoryWatch:
    """Watches the folder in which new models appear, if there is one, and those of the models."""

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
        self._inotify: _Notices | None = None
        self._folders: set[Path] = set()
        self._refusal = ""  # the last one of the kernel

    def follow(self, names: Collection[str] | None) -> None:
        """
        Called after each read of the repository, with the *names* of its models.

        Begins to watch unless these folders are watched already.  If the kernel refuses, that is
        logged, and tried again at the next call.  None: the repository cannot be read, and perhaps
        has another folder afterwards.
        """
        if names is None:
            self.stop()
            return
        folders = set()
        for name in names:
            with suppress(KeyError):  # a read that is under way may find it no longer
                folders.add(self._places.folder_of(name))
        if self._folders != folders or self._inotify is None:
            self._folders = folders
            self._start()

    def _start(self) -> None:
        """Watch these folders; what was noticed until then is not lost."""
        last, self._inotify = self._inotify, None
        self._watch()
        if last is not None:
            last.doRead()  # type: ignore[no-untyped-call]  # Twisted's
            last.close()

    def _watch(self) -> None:
        try:
            self._inotify = _Notices(self._reactor)  # type: ignore[no-untyped-call]  # Twisted's
            inotify: INotify = self._inotify
            inotify.startReading()
            if self._places.root is not None:
                path = FilePath(str(self._places.root))
                inotify.watch(path, _EVENTS, callbacks=[self._changed])
        except (OSError, INotifyError) as error:
            if str(error) != self._refusal:
                _log.info(
                    "changes in {name} are found by polling: {error}",
                    name=self._places.name,
                    error=error,
                )
            self._refusal = str(error)
            self.stop()
            return
        self._refusal = ""
        for folder in self._folders:
            # A folder that is gone since, or that cannot be read.
            with suppress(OSError, INotifyError):
                inotify.watch(FilePath(str(folder)), _EVENTS, callbacks=[self._changed])

    def stop(self) -> None:
        """Watch no longer."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _changed(self, watch: object, path: FilePath[bytes], events: int) -> None:
        """Called for each change; *path* is what was changed."""
        changed = Path(path.asTextMode().path)
        if events & IN_MOVED_TO:
            self._renamed(changed)
        if self._places.root in (changed, changed.parent) and not events & IN_CLOSE_WRITE:
            # Also called for a folder that is deleted itself: the target of a link, or the root.
            # Twisted would keep the watch of a folder or link that is gone, and watch no new one.
            # Not in this callback: Twisted may remove a watch after it.
            (self._folders.add if events & _ADDED else self._folders.discard)(changed)
            self._reactor.callLater(0, self._restart)
        self._notice()

    def _restart(self) -> None:
        if self._inotify is not None:
            self._start()
