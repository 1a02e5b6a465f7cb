"""
Read which versions of a model are served, from the files in its folder, again and again.

These are ``serving.toml`` and ``config.pbtxt``, which Triton has; where both state something,
``serving.toml`` has priority.
"""

from dataclasses import dataclass, field
from pathlib import Path

from model.errors import ModelError
from model.repository.serving_toml import SERVING_TOML, ServingFacts, read_serving_toml
from model.repository.triton_config import CONFIG_PBTXT, TritonConfig, read_config_pbtxt

#: The time for which a file that has lost its contents counts as before: some editors remove or
#: empty a file before they write it.
EMPTY_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Serving:
    """Which versions of a model are served, and how, as its files state."""

    facts: ServingFacts = field(default_factory=ServingFacts)  #: the last correct contents
    stamp: str = ""  #: changes with each write of a file; empty if there is none
    problem: str = ""  #: what is wrong with a file, in one line
    notes: tuple[str, ...] = ()  #: what has no effect, a line each


class ServingFiles:
    """The files of one model, with what earlier reads found."""

    def __init__(self) -> None:
        self._toml = _File()
        self._pbtxt = _File()
        self._config = TritonConfig(ServingFacts(), ())
        self._problem = ""  # of config.pbtxt
        self._last = Serving()

    def read(self, folder: Path, seconds: float) -> Serving:
        """Return what the files in *folder* state now; *seconds* is the monotonic time."""
        before = self._pbtxt.stamp
        if self._pbtxt.settles(folder / CONFIG_PBTXT, seconds) and self._pbtxt.stamp != before:
            self._read_config(folder / CONFIG_PBTXT)
        if not self._toml.settles(folder / SERVING_TOML, seconds):
            return self._last
        facts, problem = self._last.facts, ""
        try:
            facts = read_serving_toml(folder / SERVING_TOML, self._config.facts)
        except ModelError as error:
            problem = str(error).removeprefix(f"{folder.parent}/")
        self._last = Serving(
            facts,
            " ".join(filter(None, (self._toml.stamp, self._pbtxt.stamp))),
            "; ".join(filter(None, (self._problem, problem))),
            self._config.notes,
        )
        return self._last

    def _read_config(self, path: Path) -> None:
        self._problem = ""
        try:
            absent = TritonConfig(ServingFacts(), ())
            self._config = read_config_pbtxt(path) if self._pbtxt.stamp else absent
        except ModelError as error:
            self._problem = str(error).removeprefix(f"{path.parent.parent}/")


class _File:
    """A file whose loss counts only when it has lasted for `EMPTY_SECONDS`."""

    def __init__(self) -> None:
        self.stamp = ""  #: changes with each write; empty if there is no file
        self._emptied: float | None = None  # since when it lacks contents

    def settles(self, path: Path, seconds: float) -> bool:
        """Read the stamp of the file at *path*; return False while it seems to be written."""
        stamp, size = _stamp(path)
        if size > 0 or not self.stamp:
            self._emptied = None
        elif self._emptied is None:
            self._emptied = seconds
        if self._emptied is not None and seconds - self._emptied < EMPTY_SECONDS:
            return False
        self.stamp = stamp
        return True


def _stamp(path: Path) -> tuple[str, int]:
    """Return a text that changes with each write of *path*, and its bytes; "" if it is absent."""
    try:
        status = path.stat()
    except OSError:  # an error other than the absence of the file is raised again by the read
        return "", 0
    return f"{status.st_mtime_ns} {status.st_ino} {status.st_size}", status.st_size
