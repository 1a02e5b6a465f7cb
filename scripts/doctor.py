"""
`tensorferry doctor`: examine this machine and this installation.

Imports only click and the table of settings until the command runs, so that --help is fast.
"""

import json
import os
import sys
from typing import TYPE_CHECKING

import click

from server.settings.click_options import SettingsCommand, click_options
from server.settings.groups import GROUPS
from server.settings.option import SettingsError, printable
from server.settings.sources import CommandLine, resolve

if TYPE_CHECKING:
    from server.doctor.finding import Finding

_COLOURS = {"ok": "green", "hint": "cyan", "warning": "yellow", "fault": "red"}


@click.command(cls=SettingsCommand)
@click_options(*GROUPS, checks=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def doctor(command_line: CommandLine, as_json: bool) -> None:
    """
    Find faults of this machine and this installation, with a remedy for each.

    Takes the options of `tensorferry serve`, and examines what a server with them would use. The
    exit code is 1 if there is a fault. TensorFlow is imported in a process of its own.
    """
    from server.doctor.examination import CHECKS, Subject, examine  # noqa: PLC0415 - only for a run
    from server.doctor.finding import Level  # noqa: PLC0415 - the same
    from server.doctor.machine import Machine  # noqa: PLC0415 - the same

    settings, error = None, ""
    try:
        settings = resolve(command_line, os.environ).settings
    except SettingsError as wrong:
        error = str(wrong)
    widths = max(map(len, Level)), max(len(it.name) for it in CHECKS)
    findings = []
    for finding in examine(Subject(Machine(), settings, error)):
        findings.append(finding)
        if not as_json:
            _print(finding, *widths)  # at once: the import of TensorFlow takes seconds
    if as_json:
        rows = [
            {"check": it.check, "level": it.level, "found": it.found, "remedy": it.remedy}
            for it in findings
        ]
        click.echo(json.dumps(rows, indent=2))
    sys.exit(int(any(it.level is Level.FAULT for it in findings)))


def _print(finding: "Finding", level_width: int, check_width: int) -> None:
    """
    Print *finding* in one line, and its remedy in another; coloured on a terminal.

    The first two columns have these widths.
    """
    level = click.style(f"{finding.level:<{level_width}}", fg=_COLOURS[finding.level])
    click.echo(f"{level}  {finding.check:<{check_width}}  {printable(finding.found)}")
    if finding.remedy:
        indent = " " * (level_width + 2)
        click.echo(f"{indent}{'remedy':<{check_width}}  {printable(finding.remedy)}")
