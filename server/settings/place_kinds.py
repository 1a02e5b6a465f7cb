"""
The kinds of values that name a place: an address to listen on, an origin, a file, a folder.

A file or folder is looked up on disk when its path is parsed, and its value is an absolute path,
because a daemon changes its working folder.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from server.discovery.engine_url import ANNOUNCED, parse_engine_url
from server.settings.kinds import TextKind


@dataclass(frozen=True, slots=True)
class Endpoint(TextKind):
    """
    A Twisted server endpoint string: an address to listen on.

    Only its form is checked here, because Twisted's own parser needs a reactor; other errors appear
    when the server starts to listen.
    """

    metavar: str = "ENDPOINT"
    expected: ClassVar[str] = (
        "a Twisted server endpoint, such as tcp:12480:interface=127.0.0.1 or "
        "unix:/run/tensorferry.sock"
    )

    def parse(self, text: str) -> str:
        """Return *text* unchanged; raises ValueError unless its form is ``TYPE:ARGUMENTS``."""
        if re.fullmatch(r"[A-Za-z][\w.+-]*:.*\S", text) is None:
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class EndpointOrPath(Endpoint):
    """An endpoint string, or the path of a unix socket that only the server's user may open."""

    metavar: str = "PATH"
    expected: ClassVar[str] = (
        "the path of a unix socket, such as ./admin.sock, or a Twisted server endpoint, such as "
        "tcp:12481:interface=127.0.0.1"
    )

    def parse(self, text: str) -> str:
        """Return the endpoint string for *text*; raises ValueError as `Endpoint` does."""
        if not is_socket_path(text):
            # By its base class: a class with slots is made anew, and `super` does not know it.
            return Endpoint.parse(self, text)
        path = str(Path(text).absolute()).replace("\\", "\\\\").replace(":", "\\:")
        # The lock file lets a server take over the socket of one that was killed.
        return f"unix:{path}:mode=600:lockfile=1"


@dataclass(frozen=True, slots=True)
class Origin(TextKind):
    """The origin of the pages of a site, as browsers write it, or ``*`` for all."""

    metavar: str = "ORIGIN"
    expected: ClassVar[str] = "an origin, such as https://example.org:8443, or *"

    def parse(self, text: str) -> str:
        """
        Return *text* in lower case, without the port that is the default of its scheme.

        Browsers write origins so.  Raises ValueError for a URL with a path, and for other texts.
        """
        found = re.fullmatch(
            r"([a-z][a-z0-9+.-]*)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", text.lower()
        )
        if found is None:
            if text == "*":
                return text
            raise ValueError
        scheme, host, port = found.groups("")
        default = {"http": ":80", "https": ":443"}.get(scheme)
        return f"{scheme}://{host}{'' if port == default else port}"


@dataclass(frozen=True, slots=True)
class RegistryURL(TextKind):
    """The URL of a registry that workers can announce themselves to."""

    metavar: str = "URL"
    expected: ClassVar[str] = (
        "the URL of a registry, such as zk://localhost:2181/tensorferry, "
        "etcd://localhost:2379/tensorferry or registry://localhost:12480"
    )

    def parse(self, text: str) -> str:
        """Return *text* unchanged; raises OSError with the reason if it is no such URL."""
        try:
            parse_engine_url(text, ANNOUNCED)
        except ValueError as error:
            raise OSError(None, str(error)) from error
        return text


@dataclass(frozen=True, slots=True)
class HostName(TextKind):
    """The name or the address of a host."""

    metavar: str = "HOST"
    expected: ClassVar[str] = "a host name or an address"

    def parse(self, text: str) -> str:
        """Return *text* unchanged; raises ValueError if it is neither."""
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*", text):
            return text
        raise ValueError


def is_socket_path(text: str) -> bool:
    """Return whether *text* is the path of a socket, and no endpoint string."""
    return text.startswith(("/", "./", "../")) or (":" not in text and text.endswith(".sock"))


@dataclass(frozen=True, slots=True)
class ReadableFolder(TextKind):
    """A folder that can be listed when its path is parsed."""

    metavar: str = "FOLDER"
    expected: ClassVar[str] = "a readable folder"

    def parse(self, text: str) -> Path:
        """Return the absolute path of *text*; raises OSError if it cannot be listed."""
        if not text:
            raise ValueError
        # Without "..", as in the paths that the kernel's notices give.
        path = Path(os.path.abspath(text))  # noqa: PTH100 - `Path.absolute` keeps ".."
        next(path.iterdir(), None)
        return path


@dataclass(frozen=True, slots=True)
class ReadableFile(TextKind):
    """A file that is readable when its path is parsed; a folder, too, if one is allowed."""

    or_folder: bool = False
    stands_for_folder: str = ""  #: a file name: the folder that holds it is allowed too
    folder_advice: str = "not a regular file"  #: the error for any other folder

    @property
    def metavar(self) -> str:
        """``PATH`` if a folder is allowed, else ``FILE``."""
        return "PATH" if self.or_folder else "FILE"

    @property
    def expected(self) -> str:
        """The words "a readable file", followed by "or folder" if a folder is allowed."""
        return "a readable file or folder" if self.or_folder else "a readable file"

    def parse(self, text: str) -> Path:
        """
        Return the absolute path of *text*, because a daemon changes its working folder.

        Opens the file, to check that it can be read; raises OSError if it cannot.
        """
        path = Path(text).absolute()
        mode = path.stat().st_mode
        if text and stat.S_ISDIR(mode):
            if self.or_folder:
                next(path.iterdir(), None)
                return path
            if self.stands_for_folder and (path / self.stands_for_folder).is_file():
                return path
            raise OSError(None, self.folder_advice)
        # Opening a pipe would empty it, or block.
        if not stat.S_ISREG(mode):
            raise OSError(None, "not a regular file")
        with path.open("rb"):
            return path
