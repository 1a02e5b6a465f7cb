"""
One setting: its name, its kind, its explanation, and its declaration as a field of `Settings`.

Pure.  Imports no TensorFlow, Klein or reactor, so that ``--help`` is instant.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar, overload

from server.settings.kinds import Kind

T = TypeVar("T")

VARIABLE_PREFIX = "TENSORFERRY_"


class SettingsError(Exception):
    """A wrong setting; the message is one line with its name, value, origin and expected value."""

    def __init__(self, line: str) -> None:
        super().__init__(printable(line))


def printable(text: str) -> str:
    """Return *text* with line breaks and control characters escaped; file names may hold them."""
    if text.isprintable():
        return text
    return "".join(it if it.isprintable() else repr(it)[1:-1] for it in text)


@dataclass(frozen=True, slots=True)
class Option(Generic[T]):
    """One row of the table: how users name and write a setting, and what it means."""

    name: str  #: with underscores, as in a TOML file
    kind: Kind[T]  #: of one value, also if the option is repeatable
    group: str  #: one of GROUPS
    meaning: str  #: one or two sentences for users
    default: str  #: in words for users; empty if there is none to show
    field: str = ""  #: of Settings; empty for an option that is no setting, such as --config
    repeatable: bool = False
    needs: tuple[str, ...] = ()  #: this option requires one of these
    excludes: tuple[str, ...] = ()  #: others for the same thing; giving two is an error

    @property
    def spelling(self) -> str:
        """The name on a command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return VARIABLE_PREFIX + self.name.upper()

    @property
    def metavar(self) -> str:
        """The placeholder of the value on help pages; empty for a switch."""
        return self.kind.metavar

    @property
    def explanation(self) -> str:
        """The meaning, followed by the options of which this option needs at least one."""
        needed = " or ".join(f"--{name.replace('_', '-')}" for name in self.needs)
        return f"{self.meaning} Only with {needed}." if needed else self.meaning

    def format(self, value: T | tuple[T, ...]) -> tuple[str, ...]:
        """Return the text of *value*; for a repeatable option, a text for each of its values."""
        return tuple(map(self.kind.format, value if isinstance(value, tuple) else (value,)))


@overload
def setting(
    kind: Kind[T],
    group: str,
    meaning: str,
    *,
    default: T,
    name: str = "",
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
    excludes: tuple[str, ...] = (),
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
    """
    Declare a field of `Settings` and its option.

    Without a *default*, the field is None if the option is not given; *unset* describes in words
    what applies in that case.
    """
    words = unset or kind.format(default)  # type: ignore[arg-type]  # by the overloads, a T
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
    """
    Declare a field of `Settings` whose option may be given more than once.

    Each time it has one value; the field is a tuple of all values, or *default*.  *unset* describes
    *default* in words.
    """
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
