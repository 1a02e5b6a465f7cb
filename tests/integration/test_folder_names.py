"""Models in folders of any name: TensorFlow treats some names as patterns."""

import os
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from model.errors import ModelError
from server.model_loading import locate_model
from server.settings.table import Settings
from tests.integration.graphs import load_files
from tests.integration.keras_models import KERAS_WARNINGS, written
from tests.integration.saved_models import SAVED_MODELS, SavedModelAt
from tests.integration.saving import save_functions

pytestmark = [pytest.mark.full, *KERAS_WARNINGS]

#: Characters of patterns, paths and terminals, and a byte that is not UTF-8.
ODD = os.fsdecode(b"a\nb \xff[1]*{x}?\\ ~")


def answer(path: Path, feed: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the only output of the model at *path*, which a server would find there."""
    _, files, facts = locate_model(Settings(model=path), lambda _: None)
    loaded = load_files(files, facts)
    try:
        (output,) = loaded.runner.run(loaded.signatures[0].feed(feed))
    finally:
        loaded.runner.close()
    return output


@pytest.mark.parametrize(
    ("name", "model", "file"),
    [
        (ODD, "affine", ""),
        (ODD, "vocabulary", "saved_model.pb"),
        ("[!a]*", "affine", "saved_model.pb"),
        ("long" * 60, "affine", ""),
        ("gs:", "affine", ""),
    ],
    ids=ascii,
)
def test_a_saved_model_is_served_from_any_folder(
    saved_model: SavedModelAt, tmp_path: Path, name: str, model: str, file: str
) -> None:
    """With its variables and its assets, named by the folder or by the file in it."""
    folder = tmp_path / name / name
    copytree(saved_model(model), folder)
    (folder / "model.toml").write_text('name = "net"')
    served = SAVED_MODELS[model]
    (expected,) = served.expected.values()
    np.testing.assert_array_equal(answer(folder / file, served.feed), expected)


def test_variables_that_determine_the_range_of_pixels_are_read_from_any_folder(
    tmp_path: Path,
) -> None:
    """The lines logged at load are the same under every name."""
    import tensorflow as tf

    scale = tf.Variable(1 / 255)
    image = {"image": ("float32", (None, 4, 5, 3))}
    plain = tmp_path / "plain"
    save_functions(
        plain,
        {"serving_default": (lambda image: {"y": tf.reduce_mean(image * scale, [1, 2])}, image)},
        scale=scale,
    )
    by_name = {}
    for name in ("same", ODD):
        folder = copytree(plain, tmp_path / name / "model")
        lines: list[str] = []
        _, files, facts = locate_model(Settings(model=folder), lines.append)
        load_files(files, facts, on_progress=lines.append).runner.close()
        by_name[name] = lines
    same = by_name["same"]
    assert any("as they are" in line or "- 0) * 1" in line for line in same), same
    assert by_name[ODD] == same


def test_an_asset_that_is_read_in_a_run_stays_within_reach(tmp_path: Path) -> None:
    """For as long as the model is loaded."""
    import tensorflow as tf

    (tmp_path / "words.txt").write_text("ferry")
    words = tf.saved_model.Asset(str(tmp_path / "words.txt"))

    def read(rows: Any) -> dict[str, Any]:
        return {"words": tf.fill(tf.shape(rows), tf.io.read_file(words.asset_path))}

    folder = tmp_path / "model"
    rows = {"rows": ("float32", (None,))}
    save_functions(folder, {"serving_default": (read, rows)}, words=words)
    folder = folder.rename(tmp_path / "run[1]")
    assert answer(folder, {"rows": np.zeros(2, np.float32)}).tolist() == [b"ferry"] * 2


def test_a_message_shows_a_name_that_is_a_pattern_unchanged(
    saved_model: SavedModelAt, tmp_path: Path
) -> None:
    """In the error for a missing file."""
    folder = tmp_path / "run[1]"
    copytree(saved_model("affine"), folder)
    (folder / "variables" / "variables.index").unlink()
    with pytest.raises(ModelError) as caught:
        answer(folder, {})
    missing = f"the variables are missing: no {folder}/variables/variables.index"
    assert str(caught.value) == f"{folder}: {missing}"


def test_a_keras_file_is_served_from_any_folder(tmp_path: Path) -> None:
    """It is converted in a temporary folder, and may have any name."""

    def build(keras: Any) -> Any:
        return keras.Sequential([keras.Input((3,), name="x"), keras.layers.Rescaling(2.0)])

    folder = tmp_path / ODD
    folder.mkdir()
    path = written(build, tmp_path / "model.h5").rename(folder / f"{ODD}.h5")
    rows = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(answer(path, {"x": rows}), rows * 2)
