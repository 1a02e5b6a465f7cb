"""A base path and a model config file as a repository: model/repository/model_places.py."""

import shutil
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from model.errors import ModelError
from model.repository.model_places import BasePath, ModelConfigFile, ModelPlaces
from model.repository.serving_toml import ServingFacts
from model.repository.snapshot import RepositoryReader, Snapshot


class Read:
    """A repository of files that are old, and its reader."""

    def __init__(self, places: ModelPlaces) -> None:
        self.places = places
        self._clock = Clock()
        self._reader = RepositoryReader(places, seconds=self._clock.seconds, now=lambda: 2.0**40)

    def read(self) -> Snapshot:
        """Return what is on disk 2 seconds later."""
        self._clock.advance(2)
        return self._reader.read()


def add(base_path: Path, *versions: int) -> Path:
    """Write versions; return *base_path*."""
    for version in versions:
        (base_path / str(version)).mkdir(parents=True)
        (base_path / str(version) / "saved_model.pb").write_bytes(b"graph")
    return base_path


def versions(snapshot: Snapshot) -> dict[str, list[int]]:
    """Return the versions of each model."""
    return {name: [it.version for it in model.versions] for name, model in snapshot.items()}


def test_the_versions_in_a_base_path_are_those_of_one_model(tmp_path: Path) -> None:
    """Its name is stated beside the path; a serving.toml in the path counts."""
    path = add(tmp_path / "half_plus_two", 1, 43)
    (path / "serving.toml").write_text("labels.old = 1\n")
    read = Read(BasePath(path, "half"))
    (model,) = read.read().values()
    assert (model.name, model.serving) == ("half", ServingFacts(labels={"old": 1}))
    assert [(it.version, it.path, it.complete) for it in model.versions] == [
        (1, path / "1", True),
        (43, path / "43", True),
    ]
    assert (read.places.folder_of("half"), read.places.stated_in) == (path, None)


def test_a_base_path_without_versions_is_a_problem_of_its_model(tmp_path: Path) -> None:
    """As when it is the folder of a SavedModel."""
    path = tmp_path / "half"
    path.mkdir()
    read = Read(BasePath(path, "a"))
    assert read.read()["a"].problem == "half: no version folder, such as half/1"
    (path / "saved_model.pb").write_bytes(b"graph")
    place = f"{tmp_path.name}/half/1/"
    assert read.read()["a"].problem == (
        "half: no version folder; move saved_model.pb and what is beside it, except serving.toml, "
        f"to {place}"
    )


def test_a_base_path_that_vanishes_keeps_its_versions(tmp_path: Path) -> None:
    """As when its file system is not mounted."""
    path = add(tmp_path / "a", 1)
    read = Read(BasePath(path, "a"))
    read.read()
    shutil.rmtree(path)
    snapshot = read.read()
    assert versions(snapshot) == {"a": [1]}
    assert snapshot["a"].problem == "a: No such file or directory"


def config(folder: Path, **models: str) -> Path:
    """Write a model config file: each model is in a folder of its name; return its path."""
    path = folder / "models.config"
    path.write_text(
        "model_config_list {\n"
        + "".join(
            f'config {{ name: "{name}" base_path: "{folder / name}" {more} }}\n'
            for name, more in models.items()
        )
        + "}\n"
    )
    return path


def test_a_model_config_file_lists_models_in_several_base_paths(tmp_path: Path) -> None:
    """It alone states what is served of them."""
    for name in ("a", "b", "other"):
        add(tmp_path / name, 1, 2)
    (tmp_path / "a" / "serving.toml").write_text("weight = 2")
    path = config(
        tmp_path, a="model_version_policy { all {} }", b='version_labels { key: "old" value: 1 }'
    )
    read = Read(ModelConfigFile(path))
    snapshot = read.read()
    assert versions(snapshot) == {"a": [1, 2], "b": [1, 2]}
    assert snapshot["a"].serving == ServingFacts(latest=None)
    assert snapshot["b"].serving == ServingFacts(labels={"old": 1})
    assert read.places.stated_in == path


def test_a_model_config_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """The stamps of the models that it does not change stay equal."""
    for name in ("a", "b", "c"):
        add(tmp_path / name, 1)
    read = Read(ModelConfigFile(config(tmp_path, a="", b="")))
    before = read.read()
    config(tmp_path, a="", b="model_version_policy { all {} }", c="")
    now = read.read()
    assert versions(now) == {"a": [1], "b": [1], "c": [1]}
    assert now["a"].serving_stamp == before["a"].serving_stamp
    assert now["b"].serving_stamp != before["b"].serving_stamp


def test_a_model_config_file_with_an_error_is_an_error_of_the_read(tmp_path: Path) -> None:
    """What was read before stays; the next correct file counts."""
    add(tmp_path / "a", 1)
    path = config(tmp_path, a="")
    read = Read(ModelConfigFile(path))
    read.read()
    path.write_text("model_config_list {")
    for _ in range(2):
        with pytest.raises(ModelError, match=r"models\.config:1: expected the name of a field"):
            read.read()
    path.unlink()
    with pytest.raises(ModelError, match=r"models\.config: No such file"):
        read.read()
    config(tmp_path)
    with pytest.raises(ModelError, match=r"models\.config: no model is left in it"):
        read.read()
    config(tmp_path, a="")
    assert versions(read.read()) == {"a": [1]}


def test_a_model_whose_base_path_is_absent_is_reported(tmp_path: Path) -> None:
    """With the reason, until the folder is there."""
    read = Read(ModelConfigFile(config(tmp_path, a="")))
    assert read.read()["a"].problem == "a: No such file or directory"
    add(tmp_path / "a", 1)
    model = read.read()["a"]
    assert ([it.version for it in model.versions], model.problem) == ([1], "")
