"""
Hold TensorFlow's libraries to TF_CPP_MIN_LOG_LEVEL while they are loaded, before they read it.

Imports no TensorFlow.  Only the loading of one library at a time is watched: what another thread
writes to stderr meanwhile is passed on.
"""

import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_STDERR = 2

#: How a line of TensorFlow's log begins, by the first letter of its level.
_LINE = re.compile(rb"([IWE])\d{4} \d\d:\d\d:")
_LEVELS = {b"I": 0, b"W": 1, b"E": 2}
_HEADING = b"WARNING: All log messages before absl::InitializeLog() is called"

#: One library at a time has stderr; a second one, loaded meanwhile, writes what it likes.
_watching = threading.Lock()


def obey_log_level() -> None:
    """Have what TensorFlow's libraries write while they are loaded obey TF_CPP_MIN_LOG_LEVEL."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def without_noise(written: bytes, level: int) -> bytes:
    """Return what was *written* to stderr without those log lines that *level* leaves out."""

    def is_noise(line: bytes) -> bool:
        found = _LINE.match(line)
        return _LEVELS[found[1]] < level if found else level > 0 and line.startswith(_HEADING)

    return b"".join(line for line in written.splitlines(keepends=True) if not is_noise(line))


class _Loader(ExtensionFileLoader):
    """Loads one library."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Load it, and pass on what it writes that is no noise; everything where that fails."""
        with _caught_stderr():
            return super().create_module(spec)


class _Finder:
    """Finds TensorFlow's own libraries as Python does."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the library *name*; None for any other module."""
        if not name.startswith("tensorflow."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or not isinstance(spec.loader, ExtensionFileLoader):
            return None
        spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


@contextmanager
def _caught_stderr() -> Iterator[None]:
    """Hold back what is written to stderr in the block; pass it on at the end, without noise."""
    level = _log_level()
    # The last words of a library that ends the process, for want of AVX, must not be held back.
    if level == 0 or _lacks_avx() or not _watching.acquire(blocking=False):
        yield
        return
    try:
        with os.fdopen(os.memfd_create("stderr"), "w+b", buffering=0) as caught:
            stderr = os.dup(_STDERR)
            os.dup2(caught.fileno(), _STDERR)
            try:
                yield
            except BaseException:
                level = 0
                raise
            finally:
                os.dup2(stderr, _STDERR)
                os.close(stderr)
                caught.seek(0)
                _write(without_noise(caught.read(), level))
    finally:
        _watching.release()


def _write(data: bytes) -> None:
    with suppress(OSError):  # nothing reads stderr
        while data:
            data = data[os.write(_STDERR, data) :]


def _log_level() -> int:
    """Return what TF_CPP_MIN_LOG_LEVEL says, 0 where it is no number, as TensorFlow reads it."""
    text = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "")
    return int(text) if text.isdecimal() else 0


def _lacks_avx() -> bool:
    """Whether this is an x86 processor without AVX, which most builds of TensorFlow need."""
    try:
        processor = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = re.search(r"^flags\s*:(.*)$", processor, re.MULTILINE)
    return flags is not None and "avx" not in flags[1].split()
