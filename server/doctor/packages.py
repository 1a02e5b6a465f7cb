"""
Check the installed packages: Python, this project's requirements, and which TensorFlow there is.

Reads their metadata, and imports none of them.
"""

import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from server.doctor.finding import Finding, fault, ok
from server.doctor.machine import Machine, read_text
from tensorferry.broken_imports import is_below

PYTHON, PACKAGES, TENSORFLOW, GLIBC = "python", "packages", "tensorflow", "glibc"

_OWN, _TENSORFLOW = "tensorferry", "tensorflow"

#: The line by which the metadata of a wheel states that it provides ``import tensorflow``.
_PROVIDES = re.compile(r"^tensorflow/__init__\.py,", re.MULTILINE)
#: The line of each module or regular package at the top; an editable installation has none.
_MODULES = re.compile(r"^((\w+)(?:/__init__)?\.py),", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package that provides ``import tensorflow``."""

    name: str  #: such as tensorflow or tensorflow-cpu
    version: str
    glibc: tuple[int, ...]  #: the oldest one that it accepts; empty if unknown
    cuda_packages: tuple[str, ...]  #: the names of its packages of CUDA libraries


@dataclass(frozen=True, slots=True)
class Shadow:
    """A module that is imported in the place of one of an installed package."""

    name: str  #: of the module, as in ``import name``
    path: Path  #: of the file that is imported
    by_variable: bool  #: whether it is below a folder of PYTHONPATH


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """The packages where Python looks for them."""

    installed: Mapping[str, str]  #: versions by canonical names
    requirements: tuple[Requirement, ...]  #: of this project, without extras; () if unknown
    python: SpecifierSet  #: the versions of Python for this project
    wheels: tuple[Wheel, ...]
    tensorflow: Path | None  #: the file that ``import tensorflow`` would execute
    cuda: tuple[int, ...]  #: the version of CUDA of this TensorFlow; empty without CUDA
    shadows: tuple[Shadow, ...]  #: in the place of required packages


def read_packages(machine: Machine) -> PackageFacts:
    """Return the facts about packages."""
    found = _distributions(machine.packages)
    own = found.get(_OWN)
    path = _origin(_TENSORFLOW, machine.packages)
    requirements = () if own is None else tuple(_requirements(own, ""))
    required = [found[name] for it in requirements if (name := _canonical(it.name)) in found]
    return PackageFacts(
        {name: it.version or "" for name, it in found.items()},
        requirements,
        SpecifierSet(_field(own, "Requires-Python")),
        tuple(
            _wheel(it) for it in found.values() if _PROVIDES.search(it.read_text("RECORD") or "")
        ),
        path,
        _cuda_version(path),
        tuple(shadow for it in required for shadow in _shadows(machine, it)),
    )


def check_python(facts: PackageFacts, version: str = platform.python_version()) -> Finding:
    """Decide whether *version* of Python is one of those of this project."""
    if not facts.python.contains(version, prereleases=True):
        return fault(
            PYTHON,
            f"Python {version}, and tensorferry needs {facts.python}",
            "install it with Python 3.11, 3.12 or 3.13: python3.12 -m venv .venv",
        )
    return ok(PYTHON, f"Python {version}")


def check_packages(facts: PackageFacts) -> Finding:
    """
    Decide whether the requirements of this project are imported from where they are installed.

    And whether all but TensorFlow are there in a version of this project.
    """
    if facts.shadows:
        files = " ".join(str(it.path) for it in facts.shadows if not it.by_variable)
        return fault(
            PACKAGES,
            f"{', '.join(f'{it.name} is imported from {it.path}' for it in facts.shadows)}, and "
            "not from the package that is installed",
            f"rename {files}" if files else "unset PYTHONPATH",
        )
    wrong = [
        it
        for it in facts.requirements
        if it.name != _TENSORFLOW and not _is_met(it, facts.installed.get(_canonical(it.name)))
    ]
    if wrong:
        found = [
            f"{it.name} {facts.installed.get(_canonical(it.name), 'is missing')}" for it in wrong
        ]
        return fault(
            PACKAGES,
            f"{', '.join(found)}; needed: {', '.join(map(_bounds, wrong))}",
            f"pip install {' '.join(map(_quoted, wrong))}",
        )
    if not facts.requirements:
        return ok(PACKAGES, "tensorferry is not installed as a package: nothing to compare with")
    return ok(PACKAGES, f"all {len(facts.requirements)} requirements are met")


def check_tensorflow(facts: PackageFacts) -> Finding:
    """Decide whether exactly one TensorFlow is installed, in a version for this project."""
    needed = next(
        (it for it in facts.requirements if it.name == _TENSORFLOW), Requirement(_TENSORFLOW)
    )
    if facts.tensorflow is None:
        return fault(TENSORFLOW, "no TensorFlow is installed", f"pip install {_quoted(needed)}")
    if len(facts.wheels) > 1:
        names = " ".join(it.name for it in facts.wheels)
        both = " and ".join(f"{it.name} {it.version}" for it in facts.wheels)
        return fault(
            TENSORFLOW,
            f"{both} are installed in the same folder: each has replaced files of the other",
            f"pip uninstall -y {names} && pip install {_quoted(needed)}",
        )
    if not facts.wheels:
        return ok(TENSORFLOW, f"{facts.tensorflow}, without metadata of a package")
    (wheel,) = facts.wheels
    if not needed.specifier.contains(wheel.version, prereleases=True):
        return fault(
            TENSORFLOW,
            f"{wheel.name} {wheel.version}, and tensorferry needs {needed}",
            f"pip install {_quoted(needed)}",
        )
    cuda = ".".join(map(str, facts.cuda))
    return ok(TENSORFLOW, f"{wheel.name} {wheel.version}, {f'CUDA {cuda}' if cuda else 'no CUDA'}")


def check_glibc(facts: PackageFacts, glibc: str) -> Finding:
    """Decide whether the C library, *glibc* such as "glibc 2.36", is the one TensorFlow needs."""
    needed = max((it.glibc for it in facts.wheels), default=())
    if needed and _numbers(glibc) < needed:
        return fault(
            GLIBC,
            f"{glibc or 'the C library is not glibc'}, and TensorFlow needs glibc "
            f"{'.'.join(map(str, needed))}",
            "use a newer system, or a container of one: docker run python:3.12-slim",
        )
    return ok(GLIBC, glibc or "the C library is not glibc")


def read_glibc() -> str:
    """Return the name and the version of the C library; empty if it is not glibc."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except ValueError:
        return ""


def _distributions(path: Sequence[str]) -> dict[str, Distribution]:
    """Return the packages in the folders of *path* by canonical names; the first one counts."""
    found: dict[str, Distribution] = {}
    for it in distributions(path=list(path)):
        name = _field(it, "Name")
        if name:
            found.setdefault(_canonical(name), it)
    return found


def _field(package: Distribution | None, name: str) -> str:
    """Return the field *name* of the metadata of *package*; empty if it has none."""
    if package is None or name not in package.metadata:
        return ""
    return package.metadata[name]


def _canonical(name: str) -> str:
    return canonicalize_name(name)


def _requirements(package: Distribution, extra: str) -> Iterator[Requirement]:
    """Yield the requirements of *package* for *extra*; empty: those without an extra."""
    for text in package.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        with_extra = marker is not None and "extra" in str(marker)
        if with_extra == bool(extra) and (marker is None or marker.evaluate({"extra": extra})):
            yield requirement


def _wheel(package: Distribution) -> Wheel:
    tags = re.findall(r"manylinux_(\d+)_(\d+)_", package.read_text("WHEEL") or "")
    return Wheel(
        _field(package, "Name"),
        package.version,
        min((tuple(map(int, tag)) for tag in tags), default=()),
        tuple(_canonical(it.name) for it in _requirements(package, "and-cuda")),
    )


def _origin(module: str, path: Sequence[str]) -> Path | None:
    """Return the file of the first *module* in the folders of *path*; None without one."""
    spec = PathFinder.find_spec(module, list(path))
    return Path(spec.origin) if spec is not None and spec.origin else None


def _shadows(machine: Machine, package: Distribution) -> Iterator[Shadow]:
    """Yield what is imported in the place of the modules of *package*."""
    for file, module in _MODULES.findall(package.read_text("RECORD") or ""):
        installed, origin = Path(str(package.locate_file(file))), _origin(module, machine.packages)
        if origin is not None and installed.exists() and not origin.samefile(installed):
            folders = machine.environ.get("PYTHONPATH", "")
            yield Shadow(module, origin, is_below(origin, folders))


def _cuda_version(tensorflow: Path | None) -> tuple[int, ...]:
    """Return the version of CUDA that the build information of *tensorflow* states."""
    if tensorflow is None:
        return ()
    text = read_text(tensorflow.parent / "python/platform/build_info.py")
    found = re.search(r"""['"]cuda_version['"]\s*[,:]\s*['"]([\d.]+)['"]""", text)
    return _numbers(found[1]) if found else ()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def _is_met(requirement: Requirement, version: str | None) -> bool:
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _bounds(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def _quoted(requirement: Requirement) -> str:
    """Return *requirement* as an argument for a shell."""
    return f"'{_bounds(requirement)}'"
