"""The model at a path, and its kind: model/repository/model_kind.py."""

import os
from pathlib import Path
from zipfile import ZipFile

import pytest

from model.errors import ModelError
from model.repository.model_kind import ModelFiles, ModelKind, find_model
from tests.wire_messages import GRAPH, META, SAVED, inner, number, zipped

HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(8)
TAKEN = "a frozen graph (.pb), a SavedModel folder, or a .keras or .h5 file"
NONE = f"holds no model; expected {TAKEN}, found"


def write(folder: Path, *names: str, data: bytes = b"x") -> Path:
    """Write a file for each of *names*, paths below *folder*; return *folder*."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def refusal(path: Path) -> str:
    """Return the error for *path*, without the path."""
    with pytest.raises(ModelError) as caught:
        find_model(path)
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("flowers.pb", ModelKind.FROZEN_GRAPH),
        ("FLOWERS.PB", ModelKind.FROZEN_GRAPH),
        ("flowers.v2.keras", ModelKind.KERAS),
        ("flowers.h5", ModelKind.KERAS),
        ("flowers.HDF5", ModelKind.KERAS),
        ("flowers", ModelKind.FROZEN_GRAPH),
        ("flowers.model", ModelKind.FROZEN_GRAPH),
    ],
)
def test_the_suffix_of_a_file_decides_its_kind(tmp_path: Path, name: str, kind: ModelKind) -> None:
    """By its path, or by that of the folder with no other model; the folder's model.toml counts."""
    write(tmp_path, name)
    assert find_model(tmp_path / name) == ModelFiles(kind, tmp_path / name, tmp_path)
    if "." in name and not name.endswith(".model"):
        write(tmp_path, "model.toml", "labels.txt", ".DS_Store", f"._{name}", "notes/other.pb")
        assert find_model(tmp_path) == ModelFiles(kind, tmp_path / name, tmp_path)


def test_the_first_bytes_decide_the_kind_of_a_file_of_another_name(tmp_path: Path) -> None:
    """HDF5 files and .keras archives have fixed first bytes."""
    write(tmp_path, "weights.bin", data=HDF5)
    with ZipFile(tmp_path / "download", "w") as archive:
        archive.writestr("config.json", "{}")
    for name in ("weights.bin", "download"):
        assert find_model(tmp_path / name).kind is ModelKind.KERAS
    write(tmp_path, "odd.pb", data=HDF5)
    assert find_model(tmp_path / "odd.pb").kind is ModelKind.KERAS


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("flowers.h5", zipped("config.json"), ModelKind.KERAS),
        ("flowers.keras", HDF5, ModelKind.KERAS),
        ("flowers.pb", zipped("config.json"), ModelKind.KERAS),
        ("flowers.keras", GRAPH, ModelKind.FROZEN_GRAPH),
        ("flowers.tflite", GRAPH, ModelKind.FROZEN_GRAPH),
        ("saved_model.pb", GRAPH, ModelKind.FROZEN_GRAPH),
        ("saved_model.pb", HDF5, ModelKind.KERAS),
    ],
)
def test_a_certain_format_counts_before_the_name(
    tmp_path: Path, name: str, data: bytes, kind: ModelKind
) -> None:
    """By the path of the file, or of its folder where the name is that of a model."""
    write(tmp_path, name, data=data)
    expected = ModelFiles(kind, tmp_path / name, tmp_path)
    assert find_model(tmp_path / name) == expected
    if not name.endswith(".tflite"):
        assert find_model(tmp_path) == expected


def test_a_version_of_triton_holds_its_model_under_a_name_of_triton(tmp_path: Path) -> None:
    """The folder of the version holds the model.toml, also beside the folder of a SavedModel."""
    folder = write(tmp_path / "1", "model.graphdef", "model.toml", data=GRAPH)
    expected = ModelFiles(ModelKind.FROZEN_GRAPH, folder / "model.graphdef", folder)
    assert find_model(folder) == expected
    folder = write(tmp_path / "2", "model.savedmodel/saved_model.pb", data=SAVED)
    expected = ModelFiles(ModelKind.SAVED_MODEL, folder / "model.savedmodel", folder)
    assert find_model(folder) == expected
    write(folder, "model.graphdef", data=GRAPH)
    names = "'model.graphdef', 'model.savedmodel'"
    assert refusal(folder) == f"holds 2 models; name one of {names}"


WITH_VARIABLES = number(1, 1) + inner(2, META, inner(3, b"saver"))
WHOLE = "a SavedModel is served from its whole folder: --model FOLDER"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n"


def test_the_file_of_a_saved_model_is_served_with_its_folder(tmp_path: Path) -> None:
    """The folder is needed where the SavedModel has variables."""
    folder = ModelFiles(ModelKind.SAVED_MODEL, tmp_path, tmp_path)
    path = write(tmp_path, "saved_model.pb", data=SAVED) / "saved_model.pb"
    assert find_model(path) == folder
    path.write_bytes(WITH_VARIABLES)
    assert refusal(path) == f"the saved_model.pb of a SavedModel without its variables; {WHOLE}"
    write(tmp_path, "variables/variables.index")
    assert find_model(path) == folder


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("a.pb", SAVED, f"the saved_model.pb of a SavedModel under another name; {WHOLE}"),
        ("a.pb", POINTER, "a Git LFS pointer, not a model: run git lfs pull"),
        ("a.h5", POINTER, "a Git LFS pointer, not a model: run git lfs pull"),
        ("saved_model.pb", POINTER, "a Git LFS pointer, not a model: run git lfs pull"),
        ("a.pb", b"", "an empty file, not a model: copy or download it again"),
        (
            "a.pb",
            b"<!DOCTYPE html>",
            "a web page, as after a failed download, not a model: download the file again",
        ),
        ("a.pb", b"node { \n", f"a graph written as text cannot be served; expected {TAKEN}"),
        ("a.pb", META, f"a MetaGraphDef cannot be served; expected {TAKEN}"),
        (
            "model.tar.gz",
            b"\x1f\x8b\x08",
            "a gzip archive, not a model: unpack it, and name what is in it",
        ),
        ("keras_metadata.pb", b"x", f"a part of a SavedModel cannot be served; expected {TAKEN}"),
    ],
)
def test_a_file_that_is_not_a_model_is_named_by_its_format(
    tmp_path: Path, name: str, data: bytes, line: str
) -> None:
    """Whatever its name."""
    write(tmp_path, name, data=data)
    assert refusal(tmp_path / name) == line


@pytest.mark.parametrize("name", ["variables/variables.data-00000-of-00001", "assets/sub/a.txt"])
def test_a_clone_without_its_large_files_is_refused(tmp_path: Path, name: str) -> None:
    """The message names the file that is only a pointer."""
    write(tmp_path, "saved_model.pb", data=SAVED)
    write(tmp_path, name, data=POINTER)
    with pytest.raises(ModelError) as caught:
        find_model(tmp_path)
    message = "a Git LFS pointer, not a model: run git lfs pull"
    assert str(caught.value) == f"{tmp_path / name}: {message}"


@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
def test_a_saved_model_is_its_folder(tmp_path: Path, name: str) -> None:
    """By the path of the folder or of the file in it, with any other files beside it."""
    folder = write(tmp_path / "1", name, "variables/variables.index", "fingerprint.pb", "copy.h5")
    expected = ModelFiles(ModelKind.SAVED_MODEL, folder, folder)
    assert find_model(folder) == find_model(folder / name) == expected


def test_a_relative_path_stays_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths begin like the argument."""
    monkeypatch.chdir(write(tmp_path, "saved_model.pb"))
    here = Path()
    expected = ModelFiles(ModelKind.SAVED_MODEL, here, here)
    assert find_model(Path("saved_model.pb")) == find_model(here) == expected


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("graph.pbtxt", "a graph written as text"),
        ("flowers.tflite", "a TensorFlow Lite model"),
        ("model.ckpt", "a part of a checkpoint"),
        ("model.ckpt-1000", "a part of a checkpoint"),
        ("variables.index", "a part of a checkpoint"),
        ("model.ckpt-1000.meta", "a part of a checkpoint"),
        ("variables.data-00000-of-00001", "a part of a checkpoint"),
        ("flowers.onnx", "an ONNX model"),
        ("flowers.pth", "a PyTorch model"),
        ("flowers.PT", "a PyTorch model"),
        ("flowers.weights.h5", "weights without their model"),
    ],
)
def test_a_path_that_is_not_a_model_is_refused_by_what_it_is(
    tmp_path: Path, name: str, what: str
) -> None:
    """The message states what is accepted."""
    write(tmp_path, name)
    assert refusal(tmp_path / name) == f"{what} cannot be served; expected {TAKEN}"


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ((), f"{NONE} nothing"),
        ((".hidden.pb",), f"{NONE} nothing"),
        (
            ("model.toml", "flowers.tflite", "a\nb", "sub/graph.pb"),
            f"{NONE} 'a\\nb', 'flowers.tflite', 'model.toml', 'sub'",
        ),
        (
            tuple("abcdefghij"),
            f"{NONE} 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h' and 2 more",
        ),
        (("b.h5", "a.pb", "c.keras"), "holds 3 models; name one of 'a.pb', 'b.h5', 'c.keras'"),
        (
            ("1/saved_model.pb", "2/saved_model.pb", "labels.txt"),
            "is not a SavedModel; name one of those in it: '1', '2'",
        ),
        (
            ("variables/variables.index", "fingerprint.pb"),
            "holds variables/, but not the saved_model.pb of a SavedModel",
        ),
    ],
    ids=["empty", "hidden", "none", "many files", "several", "versions", "half a SavedModel"],
)
def test_a_folder_holds_exactly_one_model(
    tmp_path: Path, names: tuple[str, ...], line: str
) -> None:
    """Else the message lists the files in it."""
    assert refusal(write(tmp_path, *names)) == line


def test_weights_beside_their_model_do_no_harm(tmp_path: Path) -> None:
    """Keras writes both; a folder is not a model file, whatever its name."""
    write(tmp_path, "flowers.keras", "flowers.weights.h5", "old.pb/readme.txt")
    assert find_model(tmp_path).path == tmp_path / "flowers.keras"


def test_a_path_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    """A missing path, a path below a file, and a pipe."""
    write(tmp_path, "file")
    os.mkfifo(tmp_path / "pipe.pb")
    for name, reason in [
        ("absent.pb", "No such file or directory"),
        ("absent", "No such file or directory"),
        ("file/graph.pb", "Not a directory"),
        ("pipe.pb", "neither a file nor a folder"),
    ]:
        assert refusal(tmp_path / name) == reason


def test_a_file_that_may_not_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    """A link to itself has the same effect as missing rights, also for root."""
    tmp_path.joinpath("graph.pb").symlink_to("graph.pb")
    assert refusal(tmp_path / "graph.pb") == "Too many levels of symbolic links"
