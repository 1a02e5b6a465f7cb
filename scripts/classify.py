"""
`tensorferry classify`: label images from the command line with the server's own parts.

Imports only click and the table of settings until the command runs, so that help is instant.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts.image_files import files_of
from server.settings.click_options import SettingsCommand, click_options
from server.settings.option import SettingsError
from server.settings.sources import CommandLine, resolve
from server.settings.table import BATCHING, DEVICE, MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@click.command(cls=SettingsCommand)
@click_options(MODEL, DEVICE, BATCHING)
@click.argument("files", nargs=-1)
@click.option("--image", "images", multiple=True, metavar="FILE", help="One more file; repeatable.")
def classify(command_line: CommandLine, files: tuple[str, ...], images: tuple[str, ...]) -> None:
    """
    Print the best labels of images, as label_image does.

    FILES are images, or folders with images in them; folders within are left out. Without any, file
    names are read from standard input, one a line. A file that is no image, or not there, gets a
    line on standard error, and the exit code is 1 at the end.
    """
    try:
        settings = resolve(command_line, os.environ).settings
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    names = (*images, *files)
    if not names and sys.stdin.isatty():
        click.echo("file names are read from here, one a line; Ctrl-D ends", err=True)
    if sys.stderr.isatty():
        click.echo("loading the model", err=True)  # the imports below take a while, too
    from scripts.label_files import LabelRun  # noqa: PLC0415 - the reactor, for this command alone

    given: Iterable[str] = names or lines_of(sys.stdin.fileno())
    alone = len(names) == 1 and not Path(names[0]).is_dir()
    sys.exit(LabelRun(settings, files_of(given), show_names=not alone).run())


def lines_of(descriptor: int) -> "Iterator[str]":
    """
    Yield the file names, one a line, of any bytes, as they come.

    Without a buffer: at the end of the process, the thread that waits for the next line would hold
    the buffer's lock.
    """
    with open(descriptor, "rb", buffering=0, closefd=False) as lines:
        for line in lines:
            if name := line.rstrip(b"\r\n"):
                yield os.fsdecode(name)
