"""
`tensorferry classify`: label pictures from the command line with the server's own parts.

Imports only click and the table of settings until the command runs, so that help is instant.
"""

import os
import sys
from typing import TYPE_CHECKING

import click

from server.options import SettingsCommand, click_options
from server.setting_sources import CommandLine, resolve
from server.settings import BATCHING, DEVICE, MODEL, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@click.command(cls=SettingsCommand)
@click_options(MODEL, DEVICE, BATCHING)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="FILE",
    help="A picture to label; repeatable. Without it, file names are read from stdin, one a line.",
)
def classify(command_line: CommandLine, images: tuple[str, ...]) -> None:
    """
    Print the best labels of pictures, as label_image does.

    A file that is no picture gets a line on stderr, and the exit code is 1 at the end.
    """
    try:
        settings = resolve(command_line, os.environ).settings
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    from scripts.label_files import LabelRun  # noqa: PLC0415 - the reactor, for this command alone

    names: Iterable[str] = images or lines_of(sys.stdin.fileno())
    sys.exit(LabelRun(settings, names, show_names=len(images) != 1).run())


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
