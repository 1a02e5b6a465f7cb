"""Files of TensorFlow under wrong names or options: which are served, and which are refused."""

from pathlib import Path

import numpy as np
import pytest

from model.errors import ModelError
from model.repository.file_formats import format_of
from model.repository.model_kind import ModelFiles, ModelKind
from server.model_loading import locate_model
from server.settings.option import SettingsError
from server.settings.sources import resolve
from tests.integration.graphs import Graphs, image_input, load_files
from tests.integration.saved_models import SAVED_MODELS, SavedModelAt


@pytest.fixture(scope="module")
def saved(saved_model: SavedModelAt) -> Path:
    """A SavedModel with variables."""
    return saved_model("affine")


def source(**given: Path) -> ModelFiles:
    """Return the path of the model for these arguments of the command line."""
    command_line = {name: str(value) for name, value in given.items()}
    return locate_model(resolve(command_line, {}).settings, lambda _: None)[1]


def test_a_saved_model_given_as_a_graph_is_served(saved: Path) -> None:
    """By its folder, or by the file in it."""
    for path in (saved, saved / "saved_model.pb"):
        files = source(graph=path)
        assert files == ModelFiles(ModelKind.SAVED_MODEL, saved, saved)
        _, _, facts = locate_model(resolve({"graph": str(path)}, {}).settings, lambda _: None)
        loaded = load_files(files, facts)
        served = SAVED_MODELS["affine"]
        (output,) = loaded.runner.run(loaded.signatures[0].feed(served.feed))
        (expected,) = served.expected.values()
        np.testing.assert_array_equal(output, expected)
        loaded.runner.close()


@pytest.mark.parametrize("name", ["saved_model.pb", "graph.pb"])
def test_a_saved_model_without_its_folder_is_refused(
    saved: Path, tmp_path: Path, name: str
) -> None:
    """Under its own name or another; the message has the option for the folder."""
    path = tmp_path / name
    path.write_bytes((saved / "saved_model.pb").read_bytes())
    for option in ("graph", "model"):
        with pytest.raises(ModelError, match=r"SavedModel.*--model FOLDER$"):
            source(**{option: path})


def test_another_folder_is_for_model(tmp_path: Path) -> None:
    """--graph refuses the folder."""
    expected = "a folder; for a SavedModel, or a folder with a model in it, use --model"
    with pytest.raises(SettingsError, match=expected):
        source(graph=tmp_path)


def test_a_graph_given_as_a_saved_model_is_served(tmp_path: Path) -> None:
    """By the file, and by its folder."""
    written = Graphs(tmp_path).write(image_input())
    path = written.rename(tmp_path / "saved_model.pb")
    expected = ModelFiles(ModelKind.FROZEN_GRAPH, path, tmp_path)
    assert source(graph=path) == source(model=path) == source(model=tmp_path) == expected


def test_files_of_tensorflow_are_identified_by_their_bytes(saved: Path, tmp_path: Path) -> None:
    """Graphs with and without functions, checkpoints, records and examples."""
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    (graph,) = SavedModel.FromString((saved / "saved_model.pb").read_bytes()).meta_graphs
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
    example = tf.train.Example(features=tf.train.Features(feature={"a": feature, "b": feature}))
    with tf.io.TFRecordWriter(str(tmp_path / "records")) as records:
        records.write(example.SerializeToString())
        records.write(b"another")
    messages = {"meta": graph, "graph": graph.graph_def, "example": example}
    for name, message in messages.items():
        (tmp_path / name).write_bytes(message.SerializeToString())
    (tmp_path / "text").write_text(str(graph.graph_def))
    formats = {
        "meta": "a MetaGraphDef",
        "graph": "a frozen graph",
        "example": "a tf.Example",
        "records": "a file of TFRecords",
        "text": "a graph written as text",
    }
    for name, what in formats.items():
        found = format_of(tmp_path / name)
        assert found is not None, name
        assert found.what == what
    index = format_of(saved / "variables" / "variables.index")
    assert index is not None
    assert index.what == "a part of a checkpoint"
