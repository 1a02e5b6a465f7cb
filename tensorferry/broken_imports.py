"""
Explain in one line that a package cannot be imported, as if another has taken its place.

Imports only the standard library, which may itself be replaced in part.
"""

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType, TracebackType


def explain_import(error: ImportError | AttributeError) -> str:
    """
    Return why an import failed: the package, the file that it is imported from, and PYTHONPATH.

    Empty for an AttributeError that was raised when no module was imported.
    """
    if isinstance(error, ImportError):
        name = error.name or ""
    elif _while_importing(error.__traceback__):
        name = error.obj.__name__ if isinstance(error.obj, ModuleType) else ""
    else:
        return ""
    package = name.partition(".")[0]
    reason = " ".join(str(error).split())
    origin = _origin(package) if package else ""
    parts = [f"{package or 'a package'} cannot be imported: {reason}"]
    if origin:
        parts.append(f"it is imported from {origin}")
    value = os.environ.get("PYTHONPATH", "")
    if value:
        advice = "unset PYTHONPATH: " if origin and is_below(Path(origin), value) else ""
        parts.append(f"{advice}PYTHONPATH is {value!r}")
    return "; ".join(parts)


def is_below(path: Path, folders: str) -> bool:
    """Return whether *path* is in one of *folders*, which is a value of PYTHONPATH."""
    return any(
        path.absolute().is_relative_to(Path(each).absolute())
        for each in folders.split(os.pathsep)
        if each
    )


def _while_importing(traceback: TracebackType | None) -> bool:
    """Return whether a module was being executed; *traceback* begins in a function."""
    while traceback is not None:
        if traceback.tb_frame.f_code.co_name == "<module>":
            return True
        traceback = traceback.tb_next
    return False


def _origin(package: str) -> str:
    """Return the file that *package* is imported from; empty if it is not found."""
    loaded = getattr(sys.modules.get(package), "__file__", None)
    if loaded:
        return str(loaded)
    spec = PathFinder.find_spec(package)
    return (spec.origin if spec is not None else None) or ""
