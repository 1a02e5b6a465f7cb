"""
`tensorferry classify`: label images from the command line, with the parts of the server.

Imports only click and the table of settings until the command runs, so that --help is fast.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts.image_files import files_of
from server.settings.click_options import SettingsCommand, click_options
from server.settings.groups import BATCHING, DEVICE, MODEL
from server.settings.option import SettingsError
from server.settings.sources import CommandLine, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@click.command(cls=SettingsCommand)
@click_options(MODEL, DEVICE, BATCHING)
@click.argument("files", nargs=-1)
@click.option("--image", "images", multiple=True, metavar="FILE", help="One more file; repeatable.")
def classify(command_line: CommandLine, files: tuple[str, ...], images: tuple[str, ...]) -> None:
    """
    Print the best labels of images, as label_image does.

    FILES are images, or folders with images; subfolders are ignored. Without FILES, file names are
    read from standard input, one per line. A file that is missing or no image gets a line on
    standard error, and the exit code is then 1.
    """
    try:
        settings = resolve(command_line, os.environ).settings
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    names = (*images, *files)
    if not names and sys.stdin.isatty():
        click.echo("reading file names from the terminal, one per line; Ctrl-D ends", err=True)
    if sys.stderr.isatty():
        click.echo("loading the model", err=True)  # first, because the imports below take seconds
    from scripts.label_files import LabelRun  # noqa: PLC0415 - the reactor, for this command alone

    given: Iterable[str] = names or lines_of(sys.stdin.fileno())
    alone = len(names) == 1 and not Path(names[0]).is_dir()
    sys.exit(LabelRun(settings, files_of(given), show_names=not alone).run())


def lines_of(descriptor: int) -> "Iterator[str]":
    """
    Yield the lines that are read from *descriptor* as file names, each as soon as it is complete.

    A name may contain any bytes.  Reads without a buffer object: its lock would be held by a thread
    that still waits for a line when the process ends.
    """
    with open(descriptor, "rb", buffering=0, closefd=False) as lines:
        for line in lines:
            if name := line.rstrip(b"\r\n"):
                yield os.fsdecode(name)
