"""
`python -m tests.integration.numpy_server`: `tensorferry serve` with the engine of numpy alone.

The exit code is 3 if TensorFlow or Keras was imported, from the start to the end.
"""

import os
import sys
from functools import partial

import click

from server.model_loading import load_model
from server.process.run import run
from server.settings.click_options import SettingsCommand, click_options
from server.settings.groups import GROUPS
from server.settings.sources import CommandLine, resolve
from tests.fakes.numpy_backend import NumpyBackend

IMPORTED = 3


@click.command(cls=SettingsCommand)
@click_options(*GROUPS)
def main(command_line: CommandLine, **_: object) -> None:
    """Serve a linear model until a signal ends the server."""
    settings = resolve(command_line, os.environ).settings
    code = run(settings, load=partial(load_model, backends=[NumpyBackend()]))
    sys.exit(IMPORTED if {"tensorflow", "keras", "tf_keras"} & {*sys.modules} else code)


if __name__ == "__main__":
    main()
