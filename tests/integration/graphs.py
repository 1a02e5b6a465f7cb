"""Small graphs for the tests with TensorFlow: making, writing, loading and closing them."""

from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from model.backend import Device, LoadedModel, LoadOptions, OnProgress
from model.backends.tensorflow import loading
from model.backends.tensorflow.session import SessionOptions, SessionRunner
from model.errors import ModelError
from model.images.facts import ImageFacts
from model.repository.model_kind import ModelFiles, ModelKind, find_model
from model.repository.model_toml import ModelFacts
from model.signature import Feed, TensorSpec
from tests.fakes.model import loaded as loaded_by

#: Adds operations to the default graph of the TensorFlow module that it is given.
Build = Callable[[ModuleType], object]

CPU = SessionOptions(Device("cpu", "CPU"), lanes=1)

#: The output that is served by default.
SCORES = "final_result"


def load_files(
    files: ModelFiles,
    facts: ModelFacts | None = None,
    session: SessionOptions = CPU,
    *,
    classes: int = 0,
    max_pixels: int = 10**6,
    on_progress: OnProgress = lambda _: None,
) -> LoadedModel:
    """Load *files* with TensorFlow, for *classes* labels."""
    options = LoadOptions(
        facts=facts or ModelFacts(),
        device=session.device,
        lanes=session.lanes,
        gpu_memory_limit=session.gpu_memory_limit,
        max_pixels=max_pixels,
        on_progress=on_progress,
        name="tested",
        version="1",
        top=1,
        labels=tuple(f"label {number}" for number in range(classes)),
    )
    return loading.load_files(files, options)


#: Loads the model at a path, for *classes* labels, with `ImageFacts` by keyword; returns it and the
#: lines reported.
LoadModel = Callable[..., tuple[LoadedModel, list[str]]]


@pytest.fixture
def load_model() -> Iterator[LoadModel]:
    """Provide a function that loads models, which are closed after the test."""
    opened: list[LoadedModel] = []

    def load(path: Path, *, classes: int = 0, **images: Any) -> tuple[LoadedModel, list[str]]:
        lines: list[str] = []
        files = load_files(
            find_model(path),
            ModelFacts(preprocessing=ImageFacts(**images)),
            classes=classes,
            on_progress=lines.append,
        )
        opened.append(files)
        return files, lines

    yield load
    for each in opened:
        each.runner.close()


class Loaded:
    """A graph in a Session, used as a lane uses it."""

    def __init__(self, files: LoadedModel) -> None:
        assert isinstance(files.runner, SessionRunner)
        self.runner = files.runner
        self.samples = files.samples
        self.image_input = files.image_input
        #: That of images, else that of requests that name none.
        self.signature = (
            self.runner.signatures[0] if self.image_input is None else self.image_input.signature
        )

    @property
    def spec(self) -> TensorSpec:
        """The only input."""
        (spec,) = self.signature.inputs
        return spec

    def feed(self, array: np.ndarray) -> Feed:
        """Return *array* as the only input, in a feed that a lane can run."""
        feed = self.signature.feed({self.spec.name: array})
        feed.model = loaded_by(self.runner)
        return feed

    def run(self, array: np.ndarray) -> np.ndarray:
        """Return the scores of *array*."""
        (scores,) = self.runner.run(self.feed(array))
        return scores


class Graphs:
    """Writes graphs into *folder* and loads them, for a test that has three labels."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: list[Loaded] = []
        #: Lines reported while graphs were loaded.
        self.lines: list[str] = []

    def write(self, build: Build) -> Path:
        """Write a graph to the file, in place of the one before; return the path."""
        import tensorflow.compat.v1 as tf

        graph = tf.Graph()
        with graph.as_default():
            build(tf)
        path = self._folder / "graph.pb"
        path.write_bytes(graph.as_graph_def().SerializeToString())
        return path

    def load(
        self,
        path: Path,
        options: SessionOptions = CPU,
        *,
        classes: int = 3,
        tensors: tuple[str | None, str | None] = (None, None),
        signature: str | None = None,
        **given: Any,
    ) -> Loaded:
        """Load *path* with these *tensors*, input and output, and the `ImageFacts` in *given*."""
        facts = ModelFacts(
            signature=signature,
            input=tensors[0],
            output=tensors[1],
            preprocessing=ImageFacts(**given),
        )
        files = ModelFiles(ModelKind.FROZEN_GRAPH, path, path.parent)
        loaded = Loaded(
            load_files(
                files,
                facts,
                options,
                classes=classes,
                on_progress=self.lines.append,
            )
        )
        self._loaded.append(loaded)
        return loaded

    def refusal(self, path: Path, *, classes: int = 3, **given: Any) -> str:
        """Return the error of loading *path*, one line."""
        with pytest.raises(ModelError) as caught:
            self.load(path, classes=classes, **given)
        (line,) = str(caught.value).splitlines()
        return line

    def close(self) -> None:
        """Close all that was loaded."""
        for loaded in self._loaded:
            loaded.runner.close()


def image_input(
    dtype: str = "float32", shape: object = (None, 4, 5, 3), scores: str = SCORES
) -> Build:
    """Return a graph that takes images and scores each colour by its mean."""

    def build(tf: ModuleType) -> None:
        images = tf.placeholder(dtype, shape, name="input")
        tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2], name=scores)

    return build


def noise(rows: int, height: int = 4, width: int = 5) -> np.ndarray:
    """Return *rows* images, the same ones each time."""
    return np.random.default_rng(7).integers(0, 256, (rows, height, width, 3)).astype(np.uint8)


def placeholder(name: str, dtype: str, shape: object) -> Build:
    """Return a graph that takes a tensor and returns it unchanged."""
    return lambda tf: tf.placeholder(dtype, shape, name=name)


def constant_scores(tf: ModuleType) -> None:
    """Make a graph whose scores depend on no input."""
    tf.constant([[1.0, 2.0, 3.0]], name=SCORES)


def together(*builds: Build) -> Build:
    """Return a graph of several parts."""

    def build(tf: ModuleType) -> None:
        for each in builds:
            each(tf)

    return build


def applied(function: str, *names: str, to: str) -> Build:
    """Return the part of a graph that applies a *function* of TensorFlow to existing tensors."""

    def build(tf: Any) -> None:
        graph = tf.get_default_graph()
        operands = [graph.get_tensor_by_name(f"{name}:0") for name in names]
        called: Any = reduce(getattr, function.split("."), tf)
        called(*operands, name=to)

    return build
