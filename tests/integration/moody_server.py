"""
`python -m tests.integration.moody_server`: `tensorferry serve` with a model that fails or is slow.

The model is linear.  A run fails if the first number of a row is negative, and takes `SLOW` seconds
if it is `SLOW_ROW`.
"""

import os
import sys
import time
from dataclasses import replace
from functools import partial

import click

from model.backend import LoadedModel, LoadOptions, Runner
from model.repository.model_kind import ModelFiles
from model.signature import Arrays, Feed
from server.model_loading import load_model
from server.process.run import run
from server.settings.click_options import SettingsCommand, click_options
from server.settings.groups import GROUPS
from server.settings.sources import CommandLine, resolve
from tests.fakes.numpy_backend import NumpyBackend

SLOW = 0.4
SLOW_ROW = 1000.0


class MoodyRunner:
    """A `model.backend.Runner` that fails or is slow for some rows of numbers."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.signatures = runner.signatures
        self.fingerprint = runner.fingerprint
        self.device = runner.device

    def run(self, feed: Feed) -> Arrays:
        """Return the outputs; raises ValueError if a row is negative."""
        (rows,) = feed.arrays
        if feed.signature.name == "numbers" and (rows[:, 0] < 0).any():
            raise ValueError(f"a negative row: {rows[0, 0]}")
        if feed.signature.name == "numbers" and (rows[:, 0] == SLOW_ROW).any():
            time.sleep(SLOW)
        return self.runner.run(feed)

    def close(self) -> None:
        """Free the model."""
        self.runner.close()


class MoodyBackend(NumpyBackend):
    """The engine of numpy, with such a runner."""

    def load(self, files: ModelFiles, options: LoadOptions) -> LoadedModel:
        """Read *files*."""
        loaded = super().load(files, options)
        return replace(loaded, runner=MoodyRunner(loaded.runner))


@click.command(cls=SettingsCommand)
@click_options(*GROUPS)
def main(command_line: CommandLine, **_: object) -> None:
    """Serve the model until a signal ends the server."""
    settings = resolve(command_line, os.environ).settings
    sys.exit(run(settings, load=partial(load_model, backends=[MoodyBackend()])))


if __name__ == "__main__":
    main()
