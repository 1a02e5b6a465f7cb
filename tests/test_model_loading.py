"""Finding a model and its settings, and loading it: server/model_loading.py."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from model.backend import Device, LoadOptions
from model.backends.tensorflow.backend import TensorFlowBackend
from model.backends.tensorflow.default_model.source import (
    DEFAULT_MODEL,
    DefaultModelUnavailableError,
)
from model.errors import ModelError
from model.images.facts import ImageFacts
from model.images.normalisation import ColourOrder
from model.images.preprocessing import Resample
from model.repository.cache import CachedModel, CacheUnavailableError
from model.repository.model_kind import ModelFiles, ModelKind
from model.repository.model_toml import ModelFacts
from server.model_loading import load_model, locate_model
from server.settings.table import DEFAULT_TOP_PREDICTIONS, Settings
from tests.fakes.backend import CPU, GPU, FakeBackend
from tests.fakes.model import IMAGES

TOML = """
name = "flowers"
version = 3
signature = "from the file"
input = "in"
output = "out"
labels = "etc/names.txt"
top_k = 7

[preprocessing]
height = 4
width = 5
crop = 0.5
resample = "nearest"
colour_order = "bgr"
mean = [1, 2, 3]
scale = 0.25
"""

#: The table [preprocessing] of `TOML`.
STATED = ImageFacts(
    4, 5, 0.5, Resample.NEAREST, ColourOrder.BGR, (1.0, 2.0, 3.0), (0.25, 0.25, 0.25)
)


#: The image settings of a frozen graph without any options.
LABEL_IMAGE = ImageFacts(resample=Resample.TF_BILINEAR)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a graph and labels, as retraining writes them."""
    (tmp_path / "graph.pb").write_bytes(b"a graph")
    (tmp_path / "output_labels.txt").write_text("beside\n")
    (tmp_path / "given.txt").write_text("given\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "names.txt").write_text("rose\ntulip\n")
    return tmp_path


def ignore(line: str) -> None:
    """Ignore a line of progress."""


def found(settings: Settings) -> tuple[ModelFiles, ModelFacts]:
    """Return the files of the model and its settings; assert that no line is reported."""
    lines: list[str] = []
    _, files, facts = locate_model(settings, lines.append, backends=[FakeBackend()])
    assert lines == []
    return files, facts


# --- settings of a model


@pytest.mark.parametrize("named", ["graph", "model", "folder"])
def test_a_model_without_a_file_of_facts_has_the_labels_beside_it(folder: Path, named: str) -> None:
    """With --graph, and with --model for the file or the folder."""
    path = folder / "graph.pb"
    settings = {
        "graph": Settings(graph=path),
        "model": Settings(model=path),
        "folder": Settings(model=folder),
    }[named]
    files, facts = found(settings)
    assert files == ModelFiles(ModelKind.FROZEN_GRAPH, path, folder)
    assert facts == ModelFacts(labels=folder / "output_labels.txt", preprocessing=LABEL_IMAGE)


def test_a_model_without_labels_has_none(folder: Path) -> None:
    """A file of labels is optional."""
    (folder / "output_labels.txt").unlink()
    assert found(Settings(model=folder))[1] == ModelFacts(preprocessing=LABEL_IMAGE)


@pytest.mark.parametrize(
    ("settings", "toml", "resample"),
    [
        ({}, "", None),
        ({"input_height": 9}, "", Resample.TF_BILINEAR),
        ({"input_mean": 0.0}, "", Resample.TF_BILINEAR),
        ({"input_std": 1.0}, '[preprocessing]\nresample = "nearest"', Resample.NEAREST),
        ({}, '[preprocessing]\nresample = "tf_bilinear"', Resample.TF_BILINEAR),
    ],
)
def test_label_images_options_mean_label_images_pixels(
    folder: Path, settings: dict[str, Any], toml: str, resample: Resample | None
) -> None:
    """A SavedModel has them with an option of label_image; model.toml has priority."""
    (folder / "graph.pb").rename(folder / "saved_model.pb")
    (folder / "model.toml").write_text(toml)
    assert found(Settings(model=folder, **settings))[1].preprocessing.resample is resample


def test_the_values_of_placeholders_are_those_of_the_command_line(folder: Path) -> None:
    """And of the file where the command line does not name them."""
    (folder / "model.toml").write_text("[feeds]\nkeep_prob = 0.5\nphase_train = true\n")
    settings = Settings(graph=folder / "graph.pb", feed=(("keep_prob", 1.0),))
    assert found(settings)[1].feeds == {"keep_prob": 1.0, "phase_train": True}


@pytest.mark.parametrize("name", ["graph", "model"])
def test_the_file_of_facts_states_what_the_command_line_does_not(folder: Path, name: str) -> None:
    """With --graph and with --model."""
    (folder / "model.toml").write_text(TOML)
    settings = Settings(graph=folder / "graph.pb") if name == "graph" else Settings(model=folder)
    _, facts = found(settings)
    assert facts == ModelFacts(
        name="flowers",
        version="3",
        signature="from the file",
        input="in",
        output="out",
        labels=folder / "etc" / "names.txt",
        top_k=7,
        preprocessing=STATED,
    )


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"labels": Path("given.txt")}, {"labels": Path("given.txt")}),
        ({"signature": "given"}, {"signature": "given"}),
        ({"input_layer": "given"}, {"input": "given"}),
        ({"output_layer": "given"}, {"output": "given"}),
    ],
)
def test_the_command_line_goes_before_the_file(
    folder: Path, settings: dict[str, Any], changed: dict[str, Any]
) -> None:
    """Each setting by itself."""
    (folder / "model.toml").write_text(TOML)
    before = found(Settings(model=folder))[1]
    after = found(Settings(model=folder, **settings))[1]
    for name in ModelFacts.__slots__:
        assert getattr(after, name) == changed.get(name, getattr(before, name))


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"input_height": 9}, {"height": 9}),
        ({"input_width": 9}, {"width": 9}),
        ({"input_mean": 127.5}, {"mean": (127.5,) * 3}),
        ({"input_mean": 0.0}, {"mean": (0.0,) * 3}),
        ({"input_std": 64.0}, {"scale": (1 / 64,) * 3}),
        ({"input_std": -0.5}, {"scale": (-2.0,) * 3}),
    ],
)
def test_the_numbers_of_the_command_line_hold_for_all_channels(
    folder: Path, settings: dict[str, Any], changed: dict[str, Any]
) -> None:
    """A deviation divides, a scale multiplies."""
    (folder / "model.toml").write_text(TOML)
    _, facts = found(Settings(model=folder, **settings))
    for name in ImageFacts.__slots__:
        expected = changed.get(name, getattr(STATED, name))
        assert getattr(facts.preprocessing, name) == expected


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "graph.pb").unlink(), "holds no model"),
        (lambda folder: (folder / "model.toml").write_text("top = 1"), "no such key: 'top'"),
        (lambda folder: (folder / "model.toml").write_bytes(b"\xff"), "not UTF-8 text: byte 0"),
    ],
)
def test_a_model_that_cannot_be_found_or_described_is_refused(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    """In one line."""
    spoil(folder)
    with pytest.raises(ModelError, match=message):
        found(Settings(model=folder))


# --- the default model


def test_the_default_model_is_known_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model.toml beside it is not read."""
    (tmp_path / "model.toml").write_text(TOML)

    def ensure(_: object, on_progress: Callable[[str], object]) -> CachedModel:
        on_progress("converting")
        return CachedModel("default", "1", tmp_path, 0, "", "", datetime(2000, 1, 1, tzinfo=UTC))

    monkeypatch.setattr("model.backends.tensorflow.backend.ensure_default_model", ensure)
    lines: list[str] = []
    files, facts = TensorFlowBackend().default_model(lines.append)
    assert lines == ["converting"]
    assert files == ModelFiles(ModelKind.FROZEN_GRAPH, tmp_path / "output_graph.pb", tmp_path)
    assert (facts.name, facts.version) == (DEFAULT_MODEL.name, DEFAULT_MODEL.version)
    assert (facts.input, facts.output) == (DEFAULT_MODEL.input_layer, DEFAULT_MODEL.output_layer)
    assert facts.labels == tmp_path / "output_labels.txt"
    assert facts.preprocessing == ImageFacts(
        crop=DEFAULT_MODEL.crop_fraction, resample=Resample.BICUBIC
    )


@pytest.mark.parametrize(
    "error",
    [
        DefaultModelUnavailableError("not installed"),
        CacheUnavailableError(Path("cache"), "no room"),
    ],
)
def test_a_default_model_that_is_unavailable_is_an_error(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the message of its cause."""

    def ensure(_: object, __: object) -> CachedModel:
        raise error

    monkeypatch.setattr("model.backends.tensorflow.backend.ensure_default_model", ensure)
    with pytest.raises(ModelError, match=str(error)):
        TensorFlowBackend().default_model(ignore)


# --- the backend


def test_the_first_backend_that_finds_the_model_loads_it(folder: Path) -> None:
    """The engines of the others are not prepared."""
    other = FakeBackend(find=lambda _: None)
    first, second = FakeBackend(), FakeBackend()
    load_model(Settings(model=folder), ignore, backends=[other, first, second])
    assert (other.prepared, first.prepared, second.prepared) == ([], ["auto"], [])
    assert (len(other.loads), len(first.loads), len(second.loads)) == (0, 1, 0)


def test_the_default_model_is_that_of_the_last_backend() -> None:
    """Its engine is prepared first, since the conversion may import it."""
    first, last = FakeBackend(), FakeBackend()
    lines: list[str] = []
    loaded = load_model(Settings(device="gpu"), lines.append, backends=[first, last])
    assert (first.prepared, last.prepared, last.choices) == ([], ["gpu"], ["gpu"])
    assert lines[:2] == ["converting", "loading an engine"]
    assert loaded.full_name == "the default/1"


def test_a_model_that_no_backend_reads_is_refused(folder: Path) -> None:
    """The message names the engines."""
    backends = [FakeBackend(find=lambda _: None)]
    with pytest.raises(ModelError, match=r"graph\.pb: not a model that an engine reads"):
        load_model(Settings(graph=folder / "graph.pb"), ignore, backends=backends)


#: Imports every module of the server and of the model, and the list of engines with all that it
#: imports; reports on stderr the engines that were imported.
IMPORTS = """
import sys
from importlib import import_module
from pkgutil import walk_packages

import model.backends.available

for name in ("server", "model.images", "model.repository", "model.execution"):
    package = import_module(name)
    for module in walk_packages(package.__path__, f"{name}."):
        import_module(module.name)
sys.exit(repr({"tensorflow", "keras", "tf_keras"} & {*sys.modules}))
"""


def test_no_engine_is_imported_before_a_model_is_loaded() -> None:
    """Importing TensorFlow takes seconds, and another engine does without it."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == "set()"


# --- loading


def test_a_model_is_loaded_with_all_that_is_known(folder: Path) -> None:
    """Each step reports a line of progress."""
    (folder / "model.toml").write_text(TOML)
    backend = FakeBackend()
    lines: list[str] = []
    settings = Settings(
        model=folder, max_pixels=1000, device="cpu", lanes=4, gpu_memory_limit=1 << 30
    )
    loaded = load_model(settings, lines.append, backends=[backend])
    assert lines == ["loading an engine", "loading flowers/3 on a CPU", "images: as they are"]
    assert (backend.prepared, backend.choices) == (["cpu"], ["cpu"])
    files, facts = found(settings)
    options = LoadOptions(
        facts=facts,
        device=CPU,
        lanes=4,
        max_pixels=1000,
        on_progress=backend.loads[0][1].on_progress,
        name="flowers",
        version="3",
        top=7,
        labels=("rose", "tulip"),
        gpu_memory_limit=1 << 30,
    )
    assert backend.loads == [(files, options)]
    assert (loaded.name, loaded.version, loaded.signatures) == ("flowers", "3", (IMAGES,))


@pytest.mark.parametrize(
    ("settings", "toml", "top"),
    [
        ({}, "", DEFAULT_TOP_PREDICTIONS),
        ({}, "top_k = 7", 7),
        ({"num_top_predictions": 2}, "top_k = 7", 2),
    ],
)
def test_the_number_of_labels_in_a_response_is_a_setting_a_fact_or_the_default(
    folder: Path, settings: dict[str, Any], toml: str, top: int
) -> None:
    """In this order."""
    (folder / "model.toml").write_text(toml)
    loaded = load_model(Settings(model=folder, **settings), ignore, backends=[FakeBackend()])
    assert loaded.top == top
    assert (loaded.name, loaded.version) == ("default", "1")


@pytest.mark.parametrize(
    ("device", "settings", "lanes"),
    [(CPU, {}, 6), (GPU, {}, 1), (CPU, {"lanes": 2}, 2), (GPU, {"lanes": 3}, 3)],
)
def test_a_gpu_has_one_lane_and_a_cpu_one_a_core(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: Device,
    settings: dict[str, Any],
    lanes: int,
) -> None:
    """Unless the option --lanes is set."""
    monkeypatch.setattr("server.model_loading.usable_cores", lambda: 6)
    backend = FakeBackend(device)
    loaded = load_model(Settings(model=folder, **settings), ignore, backends=[backend])
    ((_, options),) = backend.loads
    assert (loaded.lanes, options.lanes, options.device) == (lanes, lanes, device)
    assert (backend.prepared, backend.choices) == (["auto"], ["auto"])


def test_labels_that_cannot_be_read_are_an_error_before_the_engine_is_imported(
    folder: Path,
) -> None:
    """Importing an engine takes seconds."""
    backend = FakeBackend()
    (folder / "model.toml").write_text('labels = "absent.txt"')
    lines: list[str] = []
    with pytest.raises(ModelError, match=r"absent\.txt: No such file or directory"):
        load_model(Settings(model=folder), lines.append, backends=[backend])
    assert (lines, backend.choices, backend.loads) == ([], [], [])
