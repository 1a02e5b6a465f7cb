"""
`python -m tests.integration.faulty_server`: `tensorferry serve` whose models do as requests ask.

The file ``faulty.json`` is a model: `FaultyModel`.  A row of its input x states by how many seconds
it lengthens its run; a negative one makes the run fail.  If the model takes images, an image is the
text ``sleep SECONDS``: that long its decoding blocks a thread.  Imports no TensorFlow.
"""

import os
import re
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial, partialmethod
from json import dumps, loads
from pathlib import Path

import click
import numpy as np

from model.backend import Device, DeviceChoice, LoadedModel, LoadOptions, OnProgress
from model.errors import ModelError
from model.images.errors import BadImage
from model.images.input import ImageInput
from model.repository.model_kind import ModelFiles
from model.repository.model_toml import ModelFacts
from model.signature import Arrays, Feed, Signature, TensorSpec, blank_feed
from server.model_loading import load_model
from server.process.run import run
from server.repository import repositories
from server.repository.repositories import FolderRepository
from server.settings.click_options import SettingsCommand, click_options
from server.settings.groups import GROUPS
from server.settings.sources import CommandLine, resolve

FILE = "faulty.json"

FLOAT32 = np.dtype(np.float32)

NUMBERS = Signature(
    (TensorSpec("x", FLOAT32, (None, 1)),), (TensorSpec("y", FLOAT32, (None, 1)),), name="numbers"
)
IMAGES = Signature(
    (TensorSpec("image", FLOAT32, (None, 1)),), (TensorSpec("scores", FLOAT32, (None, 1)),)
)


@dataclass(frozen=True, slots=True)
class FaultyModel:
    """How a model runs while no request asks for a fault."""

    run_seconds: float = 0.005  #: of each run
    takes_images: bool = False
    fails: bool = False  #: whether its load fails

    def save(self, folder: Path) -> None:
        """Write the file into *folder*, which is made."""
        folder.mkdir(parents=True)
        (folder / FILE).write_text(dumps(asdict(self)))


class FaultyRunner:
    """A `model.backend.Runner` that sleeps; the outputs are the inputs."""

    fingerprint = "faulty"
    device = "no device"

    def __init__(self, model: FaultyModel) -> None:
        self.signatures = (IMAGES, NUMBERS) if model.takes_images else (NUMBERS,)
        self._model = model

    def run(self, feed: Feed) -> Arrays:
        """Sleep as the rows ask; raises ValueError if one of them is negative."""
        (rows,) = feed.arrays
        if rows.min() < 0:
            raise ValueError("a row is negative")
        time.sleep(self._model.run_seconds + float(rows.max()))
        return (rows,)

    def close(self) -> None:
        """Do nothing."""


def decode(data: bytes) -> np.ndarray:
    """Block as *data* asks, and return a row of zero."""
    found = re.fullmatch(rb"sleep ([\d.]+)", data)
    if found is None:
        raise BadImage("not a text that asks for a sleep")
    time.sleep(float(found[1]))
    return np.zeros((1, 1), np.float32)


class FaultyBackend:
    """A `model.backend.Backend` of folders with the file of a `FaultyModel`."""

    name = "faulty"

    def find(self, path: Path) -> ModelFiles | None:
        """Return the file in the folder *path*, if there is one."""
        file = path / FILE
        return ModelFiles("faulty model", file, path) if file.is_file() else None

    def prepare_process(self, choice: DeviceChoice) -> None:
        """Do nothing."""

    def default_model(self, on_progress: OnProgress) -> tuple[ModelFiles, ModelFacts]:
        """Raise `ModelError`: there is none."""
        raise ModelError("there is no default model")

    def choose_device(self, choice: DeviceChoice) -> Device:
        """Return the CPU."""
        return Device("cpu", "no device")

    def load(self, files: ModelFiles, options: LoadOptions) -> LoadedModel:
        """Read *files*; raises `ModelError` if they ask for it."""
        model = FaultyModel(**loads(files.path.read_text()))
        if model.fails:
            raise ModelError(f"{files.path}: the load fails, as the file asks")
        runner = FaultyRunner(model)
        return LoadedModel(
            name=options.name,
            version=options.version,
            runner=runner,
            signatures=runner.signatures,
            image_input=ImageInput(IMAGES, decode, "a text") if model.takes_images else None,
            labels=(),
            top=options.top,
            samples={each.name: blank_feed(each) for each in runner.signatures},
            decodes=False,
            lanes=options.lanes,
        )


class FaultyRepository(FolderRepository):
    """A repository of faulty models alone."""

    __init__ = partialmethod(
        FolderRepository.__init__, load=partial(load_model, backends=[FaultyBackend()])
    )


@click.command(cls=SettingsCommand)
@click_options(*GROUPS)
def main(command_line: CommandLine, **_: object) -> None:
    """Serve a repository of these models until a signal ends the server."""
    repositories.FolderRepository = FaultyRepository  # type: ignore[misc]  # the engine differs
    sys.exit(run(resolve(command_line, os.environ).settings))


if __name__ == "__main__":
    main()
