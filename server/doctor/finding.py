"""
What a check reports: its level, the facts that it found, and a remedy.

Pure.
"""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters to a server."""

    OK = "ok"
    HINT = "hint"  #: the server works; something could be better
    WARNING = "warning"  #: the server works, with less than users may expect
    FAULT = "fault"  #: the server cannot start, cannot serve, or does not use its GPU


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; *found* and *remedy* are one line each."""

    check: str
    level: Level
    found: str
    remedy: str = ""  #: what to do, as a command where there is one; empty if the level is ok

    @property
    def is_serious(self) -> bool:
        """Whether it is a warning or a fault."""
        return self.level in (Level.WARNING, Level.FAULT)


def ok(check: str, found: str) -> Finding:
    """Return the finding of a check without a problem."""
    return Finding(check, Level.OK, found)


def hint(check: str, found: str, remedy: str) -> Finding:
    """Return a finding with `Level.HINT`."""
    return Finding(check, Level.HINT, found, remedy)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Return a finding with `Level.WARNING`."""
    return Finding(check, Level.WARNING, found, remedy)


def fault(check: str, found: str, remedy: str) -> Finding:
    """Return a finding with `Level.FAULT`."""
    return Finding(check, Level.FAULT, found, remedy)


def megabytes(size: int) -> str:
    """Return *size*, in bytes, as text in MB or GB."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
