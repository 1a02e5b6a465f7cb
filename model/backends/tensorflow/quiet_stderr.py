"""
Remove from stderr the log lines of TensorFlow's libraries that none of its settings removes.

While the libraries are loaded they have not read TF_CPP_MIN_LOG_LEVEL yet, and a failed trial run
is no reason for a warning.  Lines that other threads write to stderr meanwhile are passed on.
Imports no TensorFlow.
"""

import faulthandler
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

#: The start of a line of TensorFlow's log; the group is the first letter of the level.
_LINE = re.compile(rb"([IWE])\d{4} \d\d:\d\d:")
_LEVELS = {b"I": 0, b"W": 1, b"E": 2}
_HEADING = b"WARNING: All log messages before absl::InitializeLog() is called"

#: Held by the block that captures stderr.  A second block meanwhile captures nothing: the first
#: one handles its lines.
_capture_lock = threading.Lock()


def obey_log_level() -> None:
    """Apply TF_CPP_MIN_LOG_LEVEL to what TensorFlow's libraries write while they are loaded."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def remove_noise(written: bytes, level: int) -> bytes:
    """Return the bytes *written* to stderr without the log lines below *level*."""

    def is_noise(line: bytes) -> bool:
        found = _LINE.match(line)
        return _LEVELS[found[1]] < level if found else level > 0 and line.startswith(_HEADING)

    return b"".join(line for line in written.splitlines(keepends=True) if not is_noise(line))


class _Loader(ExtensionFileLoader):
    """Loads one library with stderr filtered."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Load the library; write its stderr without noise, or in full if loading fails."""
        with _captured_stderr(_log_level() if _has_avx() else 0, if_failed=0):
            return super().create_module(spec)


class _Finder:
    """Finds TensorFlow's own libraries as Python does; `_Loader` loads them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the library *name*; None for any other module."""
        # Only these: searching for some thousand modules twice takes 0.5 s.
        if not name.startswith("tensorflow.") or "pywrap" not in name:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or not isinstance(spec.loader, ExtensionFileLoader):
            return None
        spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


@contextmanager
def no_warnings() -> Iterator[None]:
    """
    Remove from stderr the warnings that TensorFlow writes in the block.

    If TF_CPP_MIN_LOG_LEVEL is 0, the warnings are kept.
    """
    # At level 2 and above TensorFlow writes no warnings.
    level = 2 if _log_level() == 1 else 0
    with _captured_stderr(level, if_failed=level):
        yield


@contextmanager
def _captured_stderr(level: int, *, if_failed: int) -> Iterator[None]:
    """
    Capture stderr in the block; write it at the end of the block, without noise.

    Noise is every log line below *level*, or below *if_failed* if the block raises.  If the process
    crashes in the block, the captured lines are lost; faulthandler writes the traceback to the real
    stderr.
    """
    if level == 0 or not _capture_lock.acquire(blocking=False):
        yield
        return
    try:
        with os.fdopen(os.memfd_create("stderr"), "w+b", buffering=0) as captured:
            stderr = os.dup(_STDERR)
            was_enabled = faulthandler.is_enabled()
            faulthandler.enable(stderr)
            os.dup2(captured.fileno(), _STDERR)
            try:
                yield
            except BaseException:
                level = if_failed
                raise
            finally:
                os.dup2(stderr, _STDERR)
                if was_enabled:
                    faulthandler.enable(_STDERR)
                else:
                    faulthandler.disable()
                os.close(stderr)
                captured.seek(0)
                _write(remove_noise(captured.read(), level))
    finally:
        _capture_lock.release()


def _write(data: bytes) -> None:
    with suppress(OSError):  # nothing reads stderr
        while data:
            data = data[os.write(_STDERR, data) :]


def _log_level() -> int:
    """Return TF_CPP_MIN_LOG_LEVEL as TensorFlow reads it: 0 if it is not set or no number."""
    text = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "")
    return int(text) if text.isdecimal() else 0


def _has_avx() -> bool:
    """
    Whether the processor has AVX or is not an x86: most builds of TensorFlow for x86 need AVX.

    Without AVX such a build ends the process after a line with the reason, which must not be
    captured.
    """
    try:
        processor = Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
    flags = re.search(r"^flags\s*:(.*)$", processor, re.MULTILINE)
    return flags is None or "avx" in flags[1].split()
