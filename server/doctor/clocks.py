"""
Check the wall clock, which dates and certificates depend on.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from server.doctor.finding import Finding, hint, ok, warning
from server.doctor.machine import Machine

CLOCK = "clock"

#: A wall clock outside these dates is wrong: this version was released in 2026.
MIN_DATE, MAX_DATE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2060, 1, 1, tzinfo=UTC)

#: The most seconds that a program of the clock may take.
MAX_PROGRAM_SECONDS = 1.0

_SYNCHRONISE = "sudo timedatectl set-ntp true"


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """The reading of the clock."""

    now: datetime  #: UTC
    synchronised: bool | None  #: by a time server; None: unknown


def read_clock(machine: Machine, *, quick: bool) -> ClockFacts:
    """Return the facts about the clock; if *quick*, without running programs."""
    return ClockFacts(machine.now(), None if quick else _synchronised(machine))


def check_clock(facts: ClockFacts) -> Finding:
    """Decide whether the clock can be right."""
    date = f"{facts.now:%Y-%m-%d %H:%M} UTC"
    if not MIN_DATE <= facts.now < MAX_DATE:
        return warning(
            CLOCK,
            f"it is {date} by the wall clock: dates of the log and of answers, and TLS, are wrong",
            f"{_SYNCHRONISE}; or sudo date -s, with the time",
        )
    if facts.synchronised is False:
        return hint(CLOCK, f"{date}, not synchronised with a time server", _SYNCHRONISE)
    return ok(CLOCK, date)


def _synchronised(machine: Machine) -> bool | None:
    """Return whether timedatectl or chronyc reports that the clock is synchronised."""
    answer = machine.run(
        "timedatectl", "show", "--property=NTPSynchronized", "--value", seconds=MAX_PROGRAM_SECONDS
    )
    if answer is not None and answer.code == 0 and answer.output.strip() in ("yes", "no"):
        return answer.output.strip() == "yes"
    answer = machine.run("chronyc", "-n", "tracking", seconds=MAX_PROGRAM_SECONDS)
    if answer is not None and answer.code == 0 and "Leap status" in answer.output:
        return "Not synchronised" not in answer.output
    return None
