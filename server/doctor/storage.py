"""
Check what the process may store and open: cache folder, temporary folder, file descriptors.
"""

import os
import pwd
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model.repository.cache import CacheUnavailableError, user_cache_folder
from server.doctor.finding import Finding, Level, fault, hint, megabytes, ok, warning
from server.doctor.machine import Machine
from server.http.connection_limits import connections_for

CACHE, TEMPORARY, DESCRIPTORS = "cache", "temporary", "descriptors"

#: The default model takes 19 MB in the cache (measured at 7b19538, 2026-11-30), twice that while it
#: is written.
MIN_CACHE_BYTES = 64_000_000
#: Run times take some kilobytes.
MIN_RUN_TIMES_BYTES = 1_000_000

#: A ready server without connections has 11 files open (measured at 7b19538, 2026-11-30); its
#: start opens some more.
MIN_DESCRIPTORS = 32
#: Connections take one descriptor each.
MIN_USEFUL_DESCRIPTORS = 256

_OTHER_CACHE = "set XDG_CACHE_HOME to a folder that can be written"


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """The cache folder, and whether the server can write there."""

    folder: Path | None  #: None: no home folder is known
    problem: str = ""  #: why it cannot be written; empty if it can be
    remedy: str = ""
    free: int = 0  #: bytes on its file system
    has_model: bool = False  #: whether a converted model is in it


def read_cache(machine: Machine) -> CacheFacts:
    """Return the facts about the cache folder; writes nothing."""
    try:
        cache = user_cache_folder()
        folder = cache.root
        has_model = bool(cache.model_names())
    except CacheUnavailableError as error:
        where = f"{error.folder}: " if error.folder.is_absolute() else ""
        return CacheFacts(None, f"{where}{error.reason}", _OTHER_CACHE)
    above = _existing(folder)
    if above != folder and not os.statvfs(above).f_blocks:  # such as /proc
        problem = f"{folder} cannot be made in {above}, where the file system stores no files"
        return CacheFacts(folder, problem, _OTHER_CACHE)
    for path in _written_folders(folder):
        problem, remedy = _not_writable(path)
        if problem:
            return CacheFacts(folder, problem, remedy, has_model=has_model)
    return CacheFacts(folder, free=machine.free_bytes(_existing(folder)), has_model=has_model)


def check_cache(facts: CacheFacts, needs_model: bool) -> Finding:
    """
    Decide whether the cache can be used.

    *needs_model*: the default model is served.  It is stored there before it is first served;
    another model is served without a cache, and measured at each start.
    """
    must_write = needs_model and not facts.has_model
    consequence = (
        "the default model cannot be stored" if must_write else "run times are measured each time"
    )
    level = Level.FAULT if must_write else Level.WARNING
    if facts.problem:
        return Finding(CACHE, level, f"{facts.problem}: {consequence}", facts.remedy)
    if facts.free < (MIN_CACHE_BYTES if must_write else MIN_RUN_TIMES_BYTES):
        return Finding(
            CACHE,
            level,
            f"{facts.folder} has {megabytes(facts.free)} free: {consequence}",
            f"delete files on its file system (df -h {_existing(facts.folder or Path('/'))}), or "
            "set XDG_CACHE_HOME to a folder on another one",
        )
    return ok(CACHE, f"{facts.folder}, {megabytes(facts.free)} free")


def _written_folders(folder: Path) -> Iterator[Path]:
    """Yield each folder in which the server creates files, or the nearest one that exists."""
    yield _existing(folder)
    yield from (path for path in (folder / "latency", folder / "models") if path.exists())


def _existing(path: Path) -> Path:
    """Return *path*, or the nearest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _not_writable(folder: Path) -> tuple[str, str]:
    """Return why no file can be created in *folder*, and the remedy; empty texts if it can be."""
    if not folder.is_dir():
        return f"{folder} is not a folder", _OTHER_CACHE
    if os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return "", ""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{folder} is on a read-only file system", _OTHER_CACHE
    owner, user = folder.stat().st_uid, os.geteuid()
    if owner != user:
        return (
            f"{folder} belongs to {_user(owner)}, and {_user(user)} may not write there",
            f"sudo chown -R {user} {folder}",
        )
    return f"{folder} is not writable", f"chmod u+rwx {folder}"


def _user(number: int) -> str:
    try:
        return f"user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user {number}"


@dataclass(frozen=True, slots=True)
class TemporaryFacts:
    """The folder for temporary files."""

    folder: str  #: empty if none can be written
    free: int  #: bytes


def read_temporary(machine: Machine) -> TemporaryFacts:
    """Return the folder that Python chooses for temporary files; a test file is written there."""
    try:
        folder = tempfile.gettempdir()
    except OSError:
        return TemporaryFacts("", 0)
    return TemporaryFacts(folder, machine.free_bytes(Path(folder)))


def check_temporary(facts: TemporaryFacts, keras_size: int) -> Finding:
    """Decide whether the Keras file of *keras_size* bytes, 0 for none, can be unpacked there."""
    found = (
        f"{facts.folder}, {megabytes(facts.free)} free"
        if facts.folder
        else "no folder for temporary files can be written"
    )
    if keras_size and facts.free < keras_size:
        return fault(
            TEMPORARY,
            f"{found}: the Keras model needs {megabytes(keras_size)}",
            "set TMPDIR to a folder with more space that can be written",
        )
    if not facts.folder:
        return hint(
            TEMPORARY,
            f"{found}: Keras files cannot be served",
            "set TMPDIR to a folder that can be written",
        )
    return ok(TEMPORARY, found)


@dataclass(frozen=True, slots=True)
class DescriptorFacts:
    """The limits of open file descriptors of this process."""

    soft: int
    hard: int


def read_descriptors(machine: Machine) -> DescriptorFacts:
    """Return the limits."""
    return DescriptorFacts(*machine.descriptors())


def check_descriptors(facts: DescriptorFacts) -> Finding:
    """Decide whether there are descriptors for the server and its connections; -1: no limit."""
    if facts.soft < 0 or facts.soft >= MIN_USEFUL_DESCRIPTORS:
        limit = "no limit" if facts.soft < 0 else str(facts.soft)
        return ok(DESCRIPTORS, f"{limit}, one for each connection")
    raised = "ulimit -n 4096" if facts.hard < 0 or facts.hard >= 4096 else ""
    remedy = (
        f"{raised or 'as root, ulimit -n 4096'}; systemd LimitNOFILE=4096, "
        "docker run --ulimit nofile=4096"
    )
    if facts.soft < MIN_DESCRIPTORS:
        return fault(
            DESCRIPTORS, f"{facts.soft}: a server needs at least {MIN_DESCRIPTORS}", remedy
        )
    return warning(
        DESCRIPTORS,
        f"{facts.soft}: at most {connections_for(facts.soft)} connections at a time",
        remedy,
    )
