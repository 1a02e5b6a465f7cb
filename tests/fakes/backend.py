"""A backend that records its calls."""

from collections.abc import Callable
from pathlib import Path

from model.backend import Device, DeviceChoice, LoadedModel, LoadOptions, OnProgress
from model.repository.model_kind import ModelFiles, find_model
from model.repository.model_toml import ModelFacts
from tests.fakes.model import IMAGES, FakeRunner, images

CPU, GPU = Device("cpu", "a CPU"), Device("gpu", "a GPU")


class FakeBackend:
    """An engine that records the calls; it reads the files that *find* returns."""

    name = "an engine"

    def __init__(
        self,
        device: Device = CPU,
        find: Callable[[Path], ModelFiles | None] = find_model,
    ) -> None:
        self.find = find
        self.prepared: list[DeviceChoice] = []
        self.choices: list[DeviceChoice] = []
        self.loads: list[tuple[ModelFiles, LoadOptions]] = []
        self._device = device

    def prepare_process(self, choice: DeviceChoice) -> None:
        """Record *choice*."""
        self.prepared.append(choice)

    def default_model(self, on_progress: OnProgress) -> tuple[ModelFiles, ModelFacts]:
        """Return a model without labels."""
        on_progress("converting")
        return ModelFiles("fake", Path("a"), Path("b")), ModelFacts(name="the default")

    def choose_device(self, choice: DeviceChoice) -> Device:
        """Record *choice*."""
        assert self.prepared
        self.choices.append(choice)
        return self._device

    def load(self, files: ModelFiles, options: LoadOptions) -> LoadedModel:
        """Record the arguments."""
        self.loads.append((files, options))
        options.on_progress("images: as they are")
        return LoadedModel(
            name=options.name,
            version=options.version,
            runner=FakeRunner(),
            signatures=(IMAGES,),
            image_input=None,
            labels=options.labels,
            top=options.top,
            samples={IMAGES.name: images(0)},
            decodes=False,
            lanes=options.lanes,
        )
