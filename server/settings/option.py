"""
One setting: how it is named, written and explained, and how `Settings` declares it as a field.

Pure.  Imports no TensorFlow, Klein or reactor, so that ``--help`` is instant.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar, overload

from server.settings.kinds import Kind

T = TypeVar("T")

VARIABLE_PREFIX = "TENSORFERRY_"


class SettingsError(Exception):
    """A setting that cannot be: one line with its name, value, origin and what was expected."""

    def __init__(self, line: str) -> None:
        super().__init__(printable(line))


def printable(text: str) -> str:
    """Return *text* with line breaks and control characters, as file names may hold, escaped."""
    return "".join(it if it.isprintable() else repr(it)[1:-1] for it in text)


@dataclass(frozen=True, slots=True)
class Option(Generic[T]):
    """One row of the table: a setting as people name, write and look it up."""

    name: str  #: with underscores, as in a TOML file
    kind: Kind[T]  #: of one value, where several may be given
    group: str  #: one of GROUPS
    meaning: str  #: in a sentence or two
    default: str  #: for people; empty where none is worth a word
    field: str = ""  #: of Settings; empty for an option that says where or how to read settings
    repeatable: bool = False
    needs: tuple[str, ...] = ()  #: the options without one of which this one says nothing
    excludes: str = ""  #: the option that says the same in another way

    @property
    def spelling(self) -> str:
        """As a command line has it."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """As the environment has it."""
        return VARIABLE_PREFIX + self.name.upper()

    @property
    def metavar(self) -> str:
        """How help pages write its value; empty for a switch."""
        return self.kind.metavar

    @property
    def explanation(self) -> str:
        """Its meaning, and what has to be given with it."""
        needed = " or ".join(f"--{name}" for name in self.needs)
        return f"{self.meaning} Only with {needed}." if needed else self.meaning

    def format(self, value: T | tuple[T, ...]) -> tuple[str, ...]:
        """Return the texts, one or several, that its kind parses as *value*."""
        return tuple(map(self.kind.format, value if isinstance(value, tuple) else (value,)))


@overload
def setting(
    kind: Kind[T],
    group: str,
    meaning: str,
    *,
    default: T,
) -> T: ...
@overload
def setting(
    kind: Kind[T],
    group: str,
    meaning: str,
    *,
    unset: str,
    name: str = "",
    needs: tuple[str, ...] = (),
    excludes: str = "",
) -> T | None: ...
def setting(
    kind: Kind[T],
    group: str,
    meaning: str,
    *,
    default: T | None = None,
    unset: str = "",
    **more: str | tuple[str, ...],
) -> T | None:
    """Declare a field: its *default*, or in words what happens while it is *unset* (None)."""
    words = unset or kind.format(default)  # type: ignore[arg-type]  # the overloads hold: a T
    return field(
        default=default,
        metadata={"kind": kind, "group": group, "meaning": meaning, "default": words, **more},
    )


def several(
    kind: Kind[T],
    group: str,
    meaning: str,
    *,
    default: tuple[T, ...],
    unset: str = "",
    needs: tuple[str, ...] = (),
) -> tuple[T, ...]:
    """Declare a field that may be given more than once, each time with one value."""
    return field(
        default=default,
        metadata={
            "kind": kind,
            "group": group,
            "meaning": meaning,
            "default": unset or ", ".join(map(kind.format, default)),
            "repeatable": True,
            "needs": needs,
        },
    )
