"""
Find the project's own top-level packages before other modules of the same names.

They are called `batcher`, `model`, `scripts` and `server`: a project on PYTHONPATH, or in the
working folder of `python -m` and twistd, may have modules of these names.  Imports nothing of ours.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

OWN_PACKAGES = ("batcher", "model", "scripts", "server")

_FOLDER = Path(__file__).absolute().parents[1]


class OwnPackagesFinder:
    """An entry of `sys.meta_path` that finds `OWN_PACKAGES`, and nothing else."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the package *name*, or None if it is not one of ours."""
        return PathFinder.find_spec(name, [str(_FOLDER)]) if name in OWN_PACKAGES else None


_finder = OwnPackagesFinder()


def prefer_own_packages() -> None:
    """
    Make ``import model`` and the like import our packages; call before the first such import.

    If a module of the same name was imported before, for example by a `sitecustomize`, code that
    holds a reference keeps that module.
    """
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    for package in OWN_PACKAGES:
        if package in sys.modules and not _is_ours(sys.modules[package]):
            for name in [each for each in sys.modules if each.partition(".")[0] == package]:
                del sys.modules[name]


def _is_ours(module: ModuleType) -> bool:
    try:
        return (_FOLDER / module.__name__ / "__init__.py").samefile(module.__file__ or "")
    except OSError:
        return False
